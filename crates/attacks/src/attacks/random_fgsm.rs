//! FGSM with a random step size, sec. 4.1.2 of Wiens & Hammer 2022.

use candle_core::Tensor;
use rand::RngExt;
use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::fgsm::steps;
use crate::attack::CurveDefaults;
use crate::{Adversarial, Attack, Case, Result};

/// FGSM with a step size drawn from `U(0, epsilon)` for each image and epsilon. All epsilons share
/// one gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RandomFgsm {}

impl CurveDefaults for RandomFgsm {}

impl Attack for RandomFgsm {
    fn name(&self) -> &'static str {
        "random_fgsm"
    }

    fn title(&self) -> &'static str {
        "random FGSM"
    }

    fn summary(&self) -> &'static str {
        "FGSM with a random step size."
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let mut draw = |epsilon: f64| -> Result<Tensor> {
            let sizes: Vec<f32> =
                (0..case.len()).map(|_| (epsilon * random.random::<f64>()) as f32).collect();
            Ok(Tensor::new(sizes, case.image().device())?)
        };
        let sizes = epsilons.iter().map(|&epsilon| draw(epsilon)).collect::<Result<_>>()?;
        steps(case, PixelObjective::CrossEntropy, sizes)
    }

    fn backward_passes(&self, _epsilons: u64) -> u64 {
        1
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }

    fn fills_the_ball(&self) -> bool {
        false
    }
}
