//! `ALMA prox`: Rony, Pesquet, Ben Ayed, *Proximal Splitting Adversarial Attack for Semantic
//! Segmentation*, CVPR 2023.

use candle_core::{DType, Tensor};
use robustseg_ops::{IGNORE_LABEL, upsample_bilinear};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::gradient::{InputGradient, finite, slope};
use crate::minimal::{Aim, Search};
use crate::ranges::{check_alpha, check_share, check_steps};
use crate::{Adversarial, Attack, Case, Result};

/// Finds the smallest perturbation that makes a share of an image's pixels wrong, as
/// [`Dag`](crate::Dag) does. It usually needs far less.
///
/// Each pixel is a constraint: its difference of logits ratio has to be negative. An augmented
/// Lagrangian weighs the constraints, and pixels that stay right weigh more and more. A step
/// follows its gradient in a metric of the root mean square of the gradients so far. Then the
/// proximity operator of the l-infinity norm in the same metric shrinks the change. The
/// `1 - wrong` of pixels that are hardest to change count less and less. The example is the
/// smallest perturbation at which enough pixels were wrong. An image without one gets the
/// perturbation with most wrong pixels. The reported epsilon is the largest change of a channel.
///
/// A step costs a forward and a backward pass, and logits of the image's size in memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AlmaProx {
    /// About the largest change of a channel in one of the first steps, in `(0, 1]`. It falls to a
    /// tenth at the last step.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// The share of the labelled pixels that must be wrong, in `(0, 1]`.
    pub wrong: f64,
}

impl Default for AlmaProx {
    /// The paper's 500 steps of 0.001, for 0.99 of the pixels.
    fn default() -> Self {
        Self { alpha: 0.001, steps: 500, wrong: 0.99 }
    }
}

impl CurveDefaults for AlmaProx {
    /// The paper's 0.03, and a limit of 0.1, which most networks do not withstand.
    fn epsilons() -> Vec<f64> {
        vec![0.0, 0.03, 0.1]
    }
}

impl AlmaProx {
    /// The example inside a ball of radius `epsilon`, which may be infinite.
    fn example(&self, case: &Case<'_>, epsilon: f64) -> Result<Adversarial> {
        let (model, image) = (case.model(), case.image().detach());
        let (_, height, width) = case.label().dims3()?;
        let images: Vec<Vec<f32>> = image.flatten_from(1)?.to_vec2()?;
        let labels: Vec<Vec<u8>> = case.label().flatten_from(1)?.to_vec2()?;
        let aim = Aim { alpha: self.alpha, steps: self.steps, wrong: self.wrong };
        let searches =
            images.iter().zip(&labels).map(|(image, label)| Search::new(image, label, epsilon, aim));
        let mut searches: Vec<Search<'_>> = searches.collect();
        let batch = |points: Vec<f64>| Tensor::from_vec(points, image.shape(), image.device());

        for step in 0..self.steps {
            let point = batch(searches.iter().flat_map(Search::point).collect())?;
            let objective = |logits: &Tensor| {
                let full = upsample_bilinear(logits, height, width, model.alignment())?;
                check_labels(&labels, full.dim(3)?)?;
                let observed: Vec<Vec<f32>> = full.detach().flatten_from(1)?.to_vec2()?;
                let slopes =
                    searches.iter_mut().zip(&observed).flat_map(|(one, logits)| one.observe(step, logits));
                let slopes = Tensor::from_vec(slopes.collect(), full.shape(), full.device())?;
                (full * slopes)?.flatten_from(1)?.sum(1)
            };
            let (InputGradient { value, gradient }, _) = slope(model, &point, objective)?;
            finite("objective", &value.to_vec1()?)?;
            let gradients: Vec<Vec<f32>> = gradient.flatten_from(1)?.to_vec2()?;
            searches.iter_mut().zip(&gradients).for_each(|(one, gradient)| one.advance(step, gradient));
        }
        let adversarial = batch(searches.iter().flat_map(Search::best).collect())?;
        Adversarial::measured(adversarial.to_dtype(DType::F32)?, &image, epsilon)
    }
}

/// Refuses a label that is not one of `classes`.
fn check_labels(labels: &[Vec<u8>], classes: usize) -> candle_core::Result<()> {
    let strange = |label: &&u8| **label != IGNORE_LABEL && usize::from(**label) >= classes;
    match labels.iter().flatten().find(strange) {
        Some(label) => candle_core::bail!("label {label} is not one of the model's {classes} classes"),
        None => Ok(()),
    }
}

impl Attack for AlmaProx {
    fn name(&self) -> &'static str {
        "alma_prox"
    }

    fn title(&self) -> &'static str {
        "ALMA prox"
    }

    fn summary(&self) -> &'static str {
        "Proximal splitting: the smallest perturbation that gets the pixels wrong."
    }

    fn validate(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_steps(self.steps)?;
        check_share("wrong", self.wrong)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        _random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        epsilons.iter().map(|&epsilon| Ok(vec![self.example(case, epsilon)?])).collect()
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn share_to_get_wrong(&self) -> Option<f64> {
        Some(self.wrong)
    }
}
