//! The basic iterative method: Kurakin, Goodfellow, Bengio, *Adversarial Examples in the Physical
//! World*, ICLR workshop 2017.

use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::{check_alpha, check_steps};
use crate::{Adversarial, Attack, Case, Norm, Result, Start};

/// `steps` steps of size `alpha` along the sign of the cross-entropy's gradient (eq. 4). Each step
/// is projected onto the ball of radius epsilon. There is no random start.
///
/// The paths of several epsilons share their gradients until the projection onto the smaller ball
/// separates them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Bim {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
}

impl Default for Bim {
    /// The paper's settings for training: alpha 0.01, 3 steps.
    fn default() -> Self {
        Self { alpha: 0.01, steps: 3 }
    }
}

impl CurveDefaults for Bim {
    /// The paper's settings for evaluation: alpha 0.004, 10 steps.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10 }
    }
}

impl Bim {
    /// The sign steps of this attack.
    pub(super) fn iteration(self) -> Iteration<'static> {
        let objective = &|_, _| PixelObjective::CrossEntropy;
        Iteration { alpha: self.alpha, steps: self.steps, objective, decay: None, norm: Norm::Linf }
    }
}

impl Attack for Bim {
    fn name(&self) -> &'static str {
        "bim"
    }

    fn title(&self) -> &'static str {
        "BIM"
    }

    fn summary(&self) -> &'static str {
        "The basic iterative method."
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
        self.iteration().examples(case, epsilons, Start::Image, random)
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }
}
