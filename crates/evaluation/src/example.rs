//! Examples: an image, an attack on it, and the predictions for both.

use candle_core::Tensor;
use robustseg_attacks::{Model, Settings};
use robustseg_ops::{PixelObjective, pixel_objective_per_image};

use crate::Result;
use crate::presented::Presented;

/// One image and its prediction before and after an attack, as in figure 1 of Wiens & Hammer 2022.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The sample's id.
    pub id: String,
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// RGB, 8 bits per channel, row by row.
    pub image: Vec<u8>,
    /// The true label of each pixel.
    pub label: Vec<u8>,
    /// The predicted label of each pixel.
    pub prediction: Vec<u8>,
    /// The attacked image, in the format of `image`, rounded to 8 bits.
    pub adversarial: Vec<u8>,
    /// The predicted label of each pixel of the attacked image, before it is rounded.
    pub adversarial_prediction: Vec<u8>,
    /// Share of the labelled pixels that are right under the attack.
    pub pixel_accuracy: f64,
    /// The cross-entropy along the direction of the attack. Each entry is a multiple of the
    /// perturbation and the cross-entropy there.
    pub landscape: Vec<(f64, f32)>,
}

/// The attack that produces the examples.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleAttack {
    /// The attack's name.
    pub attack: String,
    /// The attack's settings.
    pub parameters: Settings,
    /// The attack's epsilon.
    pub epsilon: f64,
}

/// An example with the index of its image.
pub(crate) type Numbered = (usize, Example);

/// The examples with the lowest pixel accuracy so far, at most `count`, lowest first.
pub(crate) struct Worst {
    count: usize,
    examples: Vec<Numbered>,
}

impl Worst {
    pub(crate) fn new(count: usize) -> Self {
        Self { count, examples: Vec::new() }
    }

    /// Adds the example of image `number` if its accuracy `pixel_accuracy` is among the worst.
    pub(crate) fn offer(
        &mut self,
        number: usize,
        pixel_accuracy: f64,
        example: impl FnOnce() -> Result<Example>,
    ) -> Result<()> {
        let place = self.place(pixel_accuracy);
        if place < self.count {
            self.examples.insert(place, (number, example()?));
            self.examples.truncate(self.count);
        }
        Ok(())
    }

    /// The kept examples, each with the index of its image.
    pub(crate) fn examples(&self) -> &[Numbered] {
        &self.examples
    }

    /// Whether [`Worst::offer`] would keep an example with this accuracy.
    pub(crate) fn would_keep(&self, pixel_accuracy: f64) -> bool {
        self.place(pixel_accuracy) < self.count
    }

    /// Another one that keeps as many, with none yet.
    pub(crate) fn empty(&self) -> Self {
        Self::new(self.count)
    }

    pub(crate) fn into_numbered(self) -> Vec<Numbered> {
        self.examples
    }

    fn place(&self, pixel_accuracy: f64) -> usize {
        self.examples.partition_point(|(_, other)| other.pixel_accuracy <= pixel_accuracy)
    }

    pub(crate) fn into_examples(self) -> Vec<Example> {
        self.examples.into_iter().map(|(_, example)| example).collect()
    }
}

/// The cross-entropy from half a perturbation before the parts `image` of an image to half a
/// perturbation past their attacked forms `adversarial`, for the `label` (1, H, W).
pub(crate) fn landscape(
    presented: &Presented<'_>,
    image: &[Tensor],
    adversarial: &[Tensor],
    label: &Tensor,
) -> Result<Vec<(f64, f32)>> {
    let (_, height, width) = label.dims3()?;
    let value = |times: f64| -> Result<(f64, f32)> {
        let moved = |(image, adversarial): (&Tensor, &Tensor)| {
            (image + ((adversarial - image)? * times)?)?.clamp(0.0, 1.0)
        };
        let there = image.iter().zip(adversarial).map(moved).collect::<candle_core::Result<Vec<_>>>()?;
        let logits = presented.logits_of(&there, [height, width])?;
        let objective = PixelObjective::CrossEntropy;
        let value = pixel_objective_per_image(&logits, label, objective, presented.alignment())?;
        Ok((times, value.to_vec1()?[0]))
    };
    (-4..=12).map(|eighths| value(f64::from(eighths) / 8.0)).collect()
}

/// Converts (1, 3, H, W) in `[0, 1]` to RGB bytes.
pub(crate) fn rgb(image: &Tensor) -> Result<Vec<u8>> {
    let values: Vec<f32> = image.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(|value| (value * 255.0).round() as u8).collect())
}
