//! `attack.json`, also as a table.

use robustseg_attacks::Cost;
use robustseg_evaluation::{Protocol, Window};
use robustseg_words::counted;
use serde::{Deserialize, Serialize};

/// `attack.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) method: String,
    /// The checkpoint whose gradients were followed, if it is not the attacked one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The network's view of an image.
    pub(crate) window: Window,
    /// The protocol under which the network was attacked, unless images went through as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    pub(crate) seed: u64,
    /// The cost in passes through the network, for all images together.
    pub(crate) passes: Cost,
    pub(crate) images: Vec<ImageReport>,
    /// The effect of rounding the example to the 8 bits of adversarial.png, if that file was
    /// written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adversarial_png: Option<RoundedReport>,
}

/// The example in adversarial.png, rounded to 8 bits. The example in adversarial.safetensors is
/// exact.
#[derive(Serialize, Deserialize)]
pub(crate) struct RoundedReport {
    /// The largest change by rounding, for images in `[0, 1]`.
    pub(crate) largest_rounding: f32,
    /// The same in units of epsilon, unless epsilon is 0.
    pub(crate) largest_rounding_in_epsilons: Option<f32>,
    /// The largest distance of the rounded example from the image.
    pub(crate) largest_perturbation: f32,
    pub(crate) after: Measures,
}

/// The effect of the attack on one image.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImageReport {
    /// The step size or radius that was used.
    pub(crate) epsilon: f32,
    pub(crate) largest_perturbation: f32,
    pub(crate) before: Measures,
    pub(crate) after: Measures,
}

/// One image's loss and scores.
#[derive(Serialize, Deserialize)]
pub(crate) struct Measures {
    /// Mean cross-entropy over the labelled pixels.
    pub(crate) loss: f32,
    pub(crate) mean_gain: f32,
    pub(crate) miou: Option<f64>,
    pub(crate) pixel_accuracy: Option<f64>,
}

fn score(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.4}"))
}

impl Report {
    pub(crate) fn print(&self) {
        if let Some(source) = &self.source {
            println!("examples crafted on {source}");
        }
        println!(
            "{:>5} {:>9} {:>9} {:>17} {:>17} {:>15} {:>15}",
            "image", "epsilon", "largest", "loss", "mean gain", "mean IoU", "accuracy"
        );
        for (index, image) in self.images.iter().enumerate() {
            let ImageReport { epsilon, largest_perturbation: largest, before, after } = image;
            println!(
                "{index:>5} {epsilon:>9.5} {largest:>9.5} {:>8.4} {:>8.4} {:>8.4} {:>8.4} {:>7} {:>7} {:>7} {:>7}",
                before.loss,
                after.loss,
                before.mean_gain,
                after.mean_gain,
                score(before.miou),
                score(after.miou),
                score(before.pixel_accuracy),
                score(after.pixel_accuracy),
            );
        }
        let Cost { forward, backward } = self.passes;
        println!("{forward} forward and {} of single images", counted(backward, "backward pass"));
        if let Some(RoundedReport { largest_rounding, largest_rounding_in_epsilons, after, .. }) =
            &self.adversarial_png
        {
            let share =
                largest_rounding_in_epsilons.map_or(String::new(), |share| format!(", {share:.2} epsilon"));
            println!(
                "adversarial.png is rounded to 8 bits, by up to {largest_rounding:.5}{share}: loss {:.4}, accuracy {} \
                 with it; adversarial.safetensors has the example as it is",
                after.loss,
                score(after.pixel_accuracy)
            );
        }
    }
}
