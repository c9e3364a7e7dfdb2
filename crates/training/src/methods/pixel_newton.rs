//! The Fast Newton method pixel by pixel: eq. 16 of Wiens, Hammer, *Single-step Adversarial Training for Semantic
//! Segmentation*, ICPRAM 2022.

use candle_core::{DType, Tensor};
use robustseg_attacks::{Adversarial, Attack, FastNewton, IGNORE_LABEL, Model, NegativeGain};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::TrainingMethod;
use crate::Result;

/// Labelled pixels whose examples are crafted at once.
const CHUNK: usize = 32;

/// The mean over the labelled pixels j of the Fast Newton examples made from the gain of pixel j alone.
///
/// What [`FastNewton`] replaces by one step on the mean gain, as a reference: it costs a gradient of the whole network for
/// every labelled pixel, thousands of times as much, and is for small images. The epsilon of an image is the mean of its
/// pixels' ones; the change of a pixel's channel is at most the mean of their magnitudes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PixelNewton {
    /// What a pixel contributes whose gain is below zero.
    pub negative_gain: NegativeGain,
    /// The largest step's magnitude for a pixel, in `[0, 1]`; none by default.
    pub max_epsilon: Option<f64>,
}

impl PixelNewton {
    /// The step from one pixel's gain.
    pub(super) fn step(&self) -> FastNewton {
        FastNewton { negative_gain: self.negative_gain, max_epsilon: self.max_epsilon }
    }

    /// The example and the epsilon of one image (1, 3, H, W) with its label (1, H, W).
    fn average(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<(Tensor, f32)> {
        let (_, height, width) = label.dims3()?;
        let truth: Vec<u8> = label.flatten_all()?.to_vec1()?;
        let labelled: Vec<usize> = (0..truth.len()).filter(|&pixel| truth[pixel] != IGNORE_LABEL).collect();
        if labelled.is_empty() {
            return Ok((image.clone(), 0.0));
        }
        let (mut sum, mut epsilon) = (image.zeros_like()?.to_dtype(DType::F64)?, 0.0);
        for chunk in labelled.chunks(CHUNK) {
            let mut alone = vec![IGNORE_LABEL; chunk.len() * truth.len()];
            for (row, &pixel) in chunk.iter().enumerate() {
                alone[row * truth.len() + pixel] = truth[pixel];
            }
            let alone = Tensor::from_vec(alone, (chunk.len(), height, width), image.device())?;
            let copies = image.repeat((chunk.len(), 1, 1, 1))?;
            let examples = self.step().perturb(model, &copies, &alone, random)?;
            sum = (sum + examples.image.to_dtype(DType::F64)?.sum_keepdim(0)?)?;
            epsilon += examples.epsilon.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
        let count = labelled.len() as f64;
        Ok(((sum / count)?.to_dtype(DType::F32)?.clamp(0_f32, 1_f32)?, (epsilon / count) as f32))
    }
}

impl TrainingMethod for PixelNewton {
    fn name(&self) -> &'static str {
        "pixel_newton"
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        let (mut examples, mut epsilons) = (Vec::new(), Vec::new());
        for index in 0..images.dim(0)? {
            let (image, label) = (images.narrow(0, index, 1)?, labels.narrow(0, index, 1)?);
            let (example, epsilon) = self.average(model, &image, &label, random)?;
            examples.push(example);
            epsilons.push(epsilon);
        }
        let epsilon = Tensor::new(epsilons, images.device())?;
        Ok(Some(Adversarial { image: Tensor::cat(&examples, 0)?, epsilon }))
    }
}
