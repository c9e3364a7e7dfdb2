//! Auto-PGD: Croce, Hein, *Reliable Evaluation of Adversarial Robustness with an Ensemble of
//! Diverse Parameter-free Attacks*, ICML 2020.

use candle_core::DType;
use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::{CurveDefaults, few_epsilons};
use crate::climb::{Climb, start};
use crate::ranges::check_steps;
use crate::{Adversarial, Attack, Case, Norm, Result, selection};

/// Sign steps with momentum on the cross-entropy. The step size starts at twice epsilon. Where the
/// objective stops rising, the step size is halved and the search resumes from the best point so
/// far. The example is the point with the largest cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Apgd {
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Whether to start at a random point of the ball rather than at the image.
    pub random_start: bool,
    /// The norm of the ball; epsilon has its unit.
    pub norm: Norm,
}

impl Default for Apgd {
    /// The paper's settings: 100 steps from a random start.
    fn default() -> Self {
        Self { steps: 100, random_start: true, norm: Norm::Linf }
    }
}

impl CurveDefaults for Apgd {
    fn epsilons() -> Vec<f64> {
        few_epsilons()
    }
}

impl Attack for Apgd {
    fn name(&self) -> &'static str {
        "apgd"
    }

    fn title(&self) -> &'static str {
        "APGD"
    }

    fn summary(&self) -> &'static str {
        "Auto-PGD."
    }

    fn validate(&self) -> Result<()> {
        check_steps(self.steps)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let image = case.image().detach();
        let original = image.to_dtype(DType::F64)?;
        let blank = selection::without_labels(case.label())?;
        let mut example = |epsilon: f64| {
            let from = start(&original, self.norm, epsilon, self.random_start.then_some(&mut *random))?;
            let objective = &|_, _| PixelObjective::CrossEntropy;
            let Self { steps, norm, .. } = *self;
            let climb = Climb { norm, epsilon, steps, objective, class_pixels: None };
            let found = climb.from(case, &original, &from)?.highest.to_dtype(DType::F32)?;
            let image = selection::rows(&blank, &image, &found)?;
            Ok(vec![Adversarial { image, epsilon: case.for_each_image(epsilon)? }])
        };
        epsilons.iter().map(|&epsilon| example(epsilon)).collect()
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn norm(&self) -> Norm {
        self.norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use robustseg_random::stream;
    use std::cell::RefCell;

    #[test]
    fn a_step_contains_a_quarter_of_the_previous_movement() {
        // One pixel, whose cross-entropy is highest where its channels are 0.53.
        let seen = RefCell::new(Vec::new());
        let model = |image: &Tensor| {
            seen.borrow_mut().push(image.flatten_all()?.to_vec1::<f32>()?[0]);
            let far = (image - 0.53)?.sqr()?.sum_keepdim(1)?;
            Tensor::cat(&[&far.zeros_like()?, &far.neg()?], 1)?.permute((0, 2, 3, 1))?.contiguous()
        };
        let image = Tensor::full(0.5_f32, (1, 3, 1, 1), &Device::Cpu).unwrap();
        let label = Tensor::zeros((1, 1, 1), DType::U8, &Device::Cpu).unwrap();
        let case = Case::new(&model, &image, &label).unwrap();
        let apgd = Apgd { steps: 20, random_start: false, ..Apgd::default() };
        apgd.perturb(&case, 0.1, &mut stream(0, "test", [0; 3])).unwrap();
        // By hand: first to the ball's surface, then 3/4 of a step to the other side plus 1/4 of
        // the previous movement.
        for (seen, expected) in seen.borrow().iter().zip([0.5, 0.6, 0.475, 0.5375, 0.45]) {
            assert!((seen - expected).abs() < 1e-6, "{seen} is not {expected}");
        }
    }
}
