//! The Fast Newton method pixel by pixel: eq. 16 of Wiens, Hammer, *Single-step Adversarial
//! Training for Semantic Segmentation*, ICPRAM 2022.

use candle_core::{DType, Tensor};
use robustseg_attacks::{
    Adversarial, Attack, Case, EpsilonRole, FastNewton, IGNORE_LABEL, Model, NegativeGain, check_epsilon,
};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::method::{Method, TrainingMethod};

/// Number of labelled pixels whose examples are crafted together.
const CHUNK: usize = 32;

/// The mean of Fast Newton examples over the labelled pixels j, where each example follows the gain
/// of pixel j alone.
///
/// [`FastNewton`] replaces this by one step on the mean gain. The method is a reference for small
/// images: it costs a gradient of the whole network per labelled pixel, which is thousands of times
/// as much. The epsilon of an image is the mean of its pixels' epsilons. A channel changes by at
/// most the mean of their magnitudes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PixelNewton {
    /// The contribution of a pixel whose gain is negative.
    pub negative_gain: NegativeGain,
    /// The largest magnitude of a pixel's step, in `[0, 1]`. The default is no limit.
    pub max_epsilon: Option<f64>,
}

impl Method for PixelNewton {
    fn name(&self) -> &'static str {
        "pixel_newton"
    }

    fn title(&self) -> &'static str {
        "pixel-wise Newton"
    }

    fn summary(&self) -> &'static str {
        "The mean of Fast Newton's examples for each pixel alone."
    }

    fn validate(&self) -> Result<()> {
        Ok(check_epsilon(EpsilonRole::Limit, self.limit())?)
    }

    fn cost(&self, probability: f64, pixels: usize) -> f64 {
        3.0 + probability * (2 * pixels) as f64
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl PixelNewton {
    /// The limit of a step, possibly infinite.
    fn limit(&self) -> f64 {
        self.max_epsilon.unwrap_or(f64::INFINITY)
    }

    /// The example and the epsilon of one image (1, 3, H, W) with its label (1, H, W).
    fn average(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut dyn Rng,
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
            let step = FastNewton { negative_gain: self.negative_gain };
            let examples = step.perturb(&Case::new(model, &copies, &alone)?, self.limit(), random)?;
            sum = (sum + examples.image.to_dtype(DType::F64)?.sum_keepdim(0)?)?;
            epsilon += examples.epsilon.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
        let count = labelled.len() as f64;
        Ok(((sum / count)?.to_dtype(DType::F32)?.clamp(0_f32, 1_f32)?, (epsilon / count) as f32))
    }
}

impl TrainingMethod for PixelNewton {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let (mut examples, mut epsilons) = (Vec::new(), Vec::new());
        for index in 0..case.len() {
            let (image, label) = (case.image().narrow(0, index, 1)?, case.label().narrow(0, index, 1)?);
            let (example, epsilon) = self.average(case.model(), &image, &label, random)?;
            examples.push(example);
            epsilons.push(epsilon);
        }
        let epsilon = Tensor::new(epsilons, case.image().device())?;
        Ok(Some(Adversarial { image: Tensor::cat(&examples, 0)?, epsilon }))
    }
}
