//! Examples: an image, an attack on it, and the predictions of both.

use candle_core::Tensor;
use robustseg_attacks::{Model, Settings};
use robustseg_ops::{PixelObjective, pixel_objective_per_image};

use crate::Result;

/// One image with its prediction, before and after an attack, as in figure 1 of Wiens & Hammer 2022.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The sample's id.
    pub id: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// RGB, 8 bits a channel, row by row.
    pub image: Vec<u8>,
    /// The true label of each pixel.
    pub label: Vec<u8>,
    /// The predicted label of each pixel.
    pub prediction: Vec<u8>,
    /// The attacked image, as `image`, rounded to 8 bits.
    pub adversarial: Vec<u8>,
    /// The predicted label of each pixel of the attacked image (before rounding).
    pub adversarial_prediction: Vec<u8>,
    /// Share of its labelled pixels that are right under the attack.
    pub pixel_accuracy: f64,
    /// The cross-entropy along the attack's direction: at the image plus so many times the perturbation.
    pub landscape: Vec<(f64, f32)>,
}

/// The attack that examples are made by.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleAttack {
    /// Its name.
    pub attack: String,
    /// Its settings.
    pub parameters: Settings,
    /// Its epsilon.
    pub epsilon: f64,
}

/// An example with the number of its image.
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

    /// Takes the example of the image `number` in, whose accuracy is `pixel_accuracy`, if it is among the worst.
    pub(crate) fn offer(
        &mut self,
        number: usize,
        pixel_accuracy: f64,
        example: impl FnOnce() -> Result<Example>,
    ) -> Result<()> {
        let place = self.examples.partition_point(|(_, other)| other.pixel_accuracy <= pixel_accuracy);
        if place < self.count {
            self.examples.insert(place, (number, example()?));
            self.examples.truncate(self.count);
        }
        Ok(())
    }

    /// Those that are kept, each with the number of its image.
    pub(crate) fn examples(&self) -> &[Numbered] {
        &self.examples
    }

    /// Takes up those that were kept before.
    pub(crate) fn restore(&mut self, examples: Vec<Numbered>) {
        self.examples = examples;
    }

    pub(crate) fn into_examples(self) -> Vec<Example> {
        self.examples.into_iter().map(|(_, example)| example).collect()
    }
}

/// The cross-entropy from half a perturbation before `image` (1, 3, H, W) to half a one behind `adversarial`.
pub(crate) fn landscape(
    model: &dyn Model,
    image: &Tensor,
    adversarial: &Tensor,
    label: &Tensor,
) -> Result<Vec<(f64, f32)>> {
    let perturbation = (adversarial - image)?;
    let value = |times: f64| -> Result<(f64, f32)> {
        let there = (image + (&perturbation * times)?)?.clamp(0.0, 1.0)?;
        let logits = model.logits(&there)?;
        let objective = PixelObjective::CrossEntropy;
        let value = pixel_objective_per_image(&logits, label, objective, model.alignment())?;
        Ok((times, value.to_vec1()?[0]))
    };
    (-4..=12).map(|eighths| value(f64::from(eighths) / 8.0)).collect()
}

/// (1, 3, H, W) in `[0, 1]` to RGB bytes.
pub(crate) fn rgb(image: &Tensor) -> Result<Vec<u8>> {
    let values: Vec<f32> = image.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(|value| (value * 255.0).round() as u8).collect())
}
