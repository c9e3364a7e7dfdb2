//! `PAdam`: Halmosi, Jelasity, *Evaluating the Adversarial Robustness of Semantic Segmentation:
//! Trying Harder Pays Off*, ECCV 2024.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, project};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::adam::Adam;
use crate::attack::{CurveDefaults, few_epsilons};
use crate::climb::start;
use crate::gradient::{InputGradient, finite, unchecked};
use crate::ranges::{check_alpha, check_steps};
use crate::{Adversarial, Attack, Case, Norm, Result, Start, selection};

/// Gradient ascent with Adam, each step projected onto the ball. Adam's second moment never falls
/// (AMSGrad). Unlike a sign step, Adam's step shrinks where gradients disagree from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Padam {
    /// The learning rate, about the largest change of a channel in one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
    /// The objective to climb.
    pub objective: AdamObjective,
}

/// What [`Padam`] climbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdamObjective {
    /// The cross-entropy.
    #[default]
    CrossEntropy,
    /// The objective of [`CosPgd`](crate::CosPgd).
    Cospgd,
}

impl AdamObjective {
    fn pixel(self) -> PixelObjective {
        match self {
            Self::CrossEntropy => PixelObjective::CrossEntropy,
            Self::Cospgd => PixelObjective::CosPgd,
        }
    }
}

impl Default for Padam {
    /// The paper's 200 steps of 2/255, on the cross-entropy, from the image. Draws nothing.
    fn default() -> Self {
        let objective = AdamObjective::default();
        Self { alpha: 2.0 / 255.0, steps: 200, start: Start::Image, objective }
    }
}

impl CurveDefaults for Padam {
    fn epsilons() -> Vec<f64> {
        few_epsilons()
    }
}

impl Padam {
    /// The images (N, 3, H, W), f32, inside the ball of radius `epsilon`.
    fn ascend(&self, case: &Case<'_>, epsilon: f64, random: Option<&mut dyn Rng>) -> Result<Tensor> {
        let image = case.image().detach();
        let original = image.to_dtype(DType::F64)?;
        let ball = Tensor::full(epsilon, case.len(), image.device())?;
        let mut point = start(&original, Norm::Linf, epsilon, random)?;
        let mut adam = Adam::new(&original)?;
        let mut values = Vec::new();
        for _ in 0..self.steps {
            let (InputGradient { value, gradient }, _) =
                unchecked(case.model(), &point, case.label(), self.objective.pixel())?;
            values.push(value);
            let direction = adam.direction(&gradient.to_dtype(DType::F64)?)?;
            point = project(&(point + (direction * self.alpha)?)?, &original, &ball)?;
        }
        // By now the GPU has all its work enqueued.
        for value in values {
            finite("objective", &value.to_vec1()?)?;
        }
        selection::rows(&selection::without_labels(case.label())?, &image, &point.to_dtype(DType::F32)?)
    }
}

impl Attack for Padam {
    fn name(&self) -> &'static str {
        "padam"
    }

    fn title(&self) -> &'static str {
        "PAdam"
    }

    fn summary(&self) -> &'static str {
        "Projected gradient ascent with Adam."
    }

    fn validate(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_steps(self.steps)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let mut example = |epsilon: f64| {
            let random: Option<&mut dyn Rng> =
                if self.start == Start::Random { Some(&mut *random) } else { None };
            let image = self.ascend(case, epsilon, random)?;
            Ok(vec![Adversarial { image, epsilon: case.for_each_image(epsilon)? }])
        };
        epsilons.iter().map(|&epsilon| example(epsilon)).collect()
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn starts_at_the_image(&self) -> bool {
        self.start == Start::Image
    }
}
