//! Dense adversary generation: Xie, Wang, Zhang, Zhou, Xie, Yuille, *Adversarial Examples for
//! Semantic Segmentation and Object Detection*, ICCV 2017.

use candle_core::{DType, Tensor, Var};
use robustseg_ops::{IGNORE_LABEL, PixelObjective, Tape, pixel_objective_per_image, predict, project};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::gradient::finite;
use crate::ranges::{check_alpha, check_share, check_steps};
use crate::{Adversarial, Attack, Case, Error, Result};

/// Finds a small perturbation that makes the pixels of an image wrong, where other attacks maximise the
/// damage at a given size. It takes steps that lower the gain of pixels that are still right,
/// until few of them are left.
///
/// `x = clip01(x - alpha * g / norm_inf(g))`, where g is the gradient of the mean, over the right
/// pixels, of own logit minus best other logit. The reported epsilon is the largest change of a
/// channel. An image that reaches its share of wrong pixels is done and does not change any more.
/// Any other image takes all steps.
///
/// The paper draws a wrong class for each pixel and raises its logit. Here the target is the best
/// wrong class at each step, as in Rony, Pesquet, Ben Ayed (CVPR 2023). They also stop at 0.99 of
/// the pixels, where the paper requires all of them.
///
/// A step costs a forward and a backward pass of the whole batch. The attack ends when all images
/// are done. The forward pass that finds them done counts as one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Dag {
    /// The largest change of a channel in one step, in `(0, 1]`.
    pub alpha: f64,
    /// Maximum number of steps, at least 1.
    pub steps: usize,
    /// The share of the labelled pixels that must be wrong, in `(0, 1]`.
    pub wrong: f64,
}

impl Default for Dag {
    /// The paper's step of half a level of an 8-bit image (0.002) and its 200 steps, for 0.99 of
    /// the pixels.
    fn default() -> Self {
        Self { alpha: 0.002, steps: 200, wrong: 0.99 }
    }
}

impl CurveDefaults for Dag {}

impl Dag {
    /// The example inside a ball of radius `epsilon`, which may be infinite.
    fn example(&self, case: &Case<'_>, epsilon: f64) -> Result<Adversarial> {
        let (model, label, count) = (case.model(), case.label(), case.len());
        let (_, height, width) = label.dims3()?;
        let image = case.image().detach();
        let original = image.to_dtype(DType::F64)?;
        let per_image = |mask: &Tensor| -> Result<Vec<f64>> {
            Ok(mask.to_dtype(DType::F64)?.flatten_from(1)?.sum(1)?.to_vec1()?)
        };
        let labelled = per_image(&label.ne(IGNORE_LABEL)?)?;
        let none = Tensor::full(IGNORE_LABEL, label.shape(), label.device())?;
        let ball = epsilon.is_finite().then(|| Tensor::full(epsilon, count, image.device())).transpose()?;

        let mut point = original.clone();
        for _ in 0..self.steps {
            let variable = Var::from_tensor(&point.to_dtype(model.image_dtype())?)?;
            let tape = Tape::start();
            let logits = model.logits(variable.as_tensor())?;
            let right = predict(&logits, height, width, model.alignment())?.eq(label)?;
            let done = |(right, labelled): (f64, &f64)| labelled - right >= self.wrong * labelled;
            let done: Vec<bool> = per_image(&right)?.into_iter().zip(&labelled).map(done).collect();
            if done.iter().all(|done| *done) {
                break;
            }
            let still_right = right.where_cond(label, &none)?;
            let gain =
                pixel_objective_per_image(&logits, &still_right, PixelObjective::Gain, model.alignment())?;
            let gradients = tape.backward(&gain)?;
            finite("gain", &gain.to_vec1()?)?;
            let gradient = gradients.get(variable.as_tensor()).ok_or(Error::NoGradient)?;
            let largest: Vec<f32> =
                gradient.to_dtype(DType::F32)?.abs()?.flatten_from(1)?.max(1)?.to_vec1()?;
            finite("gradient of the gain", &largest)?;
            let scale = |(largest, done): (&f32, &bool)| {
                if *done || *largest == 0.0 { 0.0 } else { self.alpha / f64::from(*largest) }
            };
            let scales: Vec<f64> = largest.iter().zip(&done).map(scale).collect();
            let scales = Tensor::from_vec(scales, (count, 1, 1, 1), image.device())?;
            let step = gradient.to_dtype(DType::F64)?.broadcast_mul(&scales)?;
            point = (point - step)?.clamp(0.0, 1.0)?;
            if let Some(ball) = &ball {
                point = project(&point, &original, ball)?;
            }
        }
        Adversarial::measured(point.to_dtype(DType::F32)?, &image, epsilon)
    }
}

impl Attack for Dag {
    fn name(&self) -> &'static str {
        "dag"
    }

    fn title(&self) -> &'static str {
        "DAG"
    }

    fn summary(&self) -> &'static str {
        "Dense adversary generation: the smallest perturbation that gets the pixels wrong."
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
