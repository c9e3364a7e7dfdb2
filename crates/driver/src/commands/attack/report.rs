//! `attack.json`, and the same as a table.

use robustseg_attacks::Cost;
use robustseg_evaluation::Window;
use robustseg_words::counted;
use serde::Serialize;

/// `attack.json`.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) method: String,
    /// What the network sees of an image.
    pub(super) window: Window,
    pub(super) seed: u64,
    /// The cost in passes through the network, of all images together.
    pub(super) passes: Cost,
    pub(super) images: Vec<ImageReport>,
    /// The effect of rounding the example to the 8 bits of adversarial.png, if that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adversarial_png: Option<RoundedReport>,
}

/// The example of adversarial.png, rounded to 8 bits; that of adversarial.safetensors is exact.
#[derive(Serialize)]
pub(super) struct RoundedReport {
    /// The largest change of a value by rounding, images being in `[0, 1]`.
    pub(super) largest_rounding: f32,
    /// The same in units of epsilon, unless that is 0.
    pub(super) largest_rounding_in_epsilons: Option<f32>,
    /// The largest distance of the rounded example from the image.
    pub(super) largest_perturbation: f32,
    pub(super) after: Measures,
}

/// The effect of the attack on one image.
#[derive(Serialize)]
pub(super) struct ImageReport {
    /// The step or radius that was used.
    pub(super) epsilon: f32,
    pub(super) largest_perturbation: f32,
    pub(super) before: Measures,
    pub(super) after: Measures,
}

/// One image's loss and scores.
#[derive(Serialize)]
pub(super) struct Measures {
    /// Mean cross-entropy over the labelled pixels.
    pub(super) loss: f32,
    pub(super) mean_gain: f32,
    pub(super) miou: Option<f64>,
    pub(super) pixel_accuracy: Option<f64>,
}

fn score(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.4}"))
}

impl Report {
    pub(super) fn print(&self) {
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
