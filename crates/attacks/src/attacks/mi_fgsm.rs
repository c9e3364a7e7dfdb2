//! The momentum iterative method: Dong, Liao, Pang, Su, Zhu, Hu, Li, *Boosting Adversarial Attacks
//! with Momentum*, CVPR 2018.

use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::{check_alpha, check_decay, check_steps};
use crate::{Adversarial, Attack, Case, Norm, Result, Start};

/// Steps of size `alpha` along the sign of an accumulated gradient. Each gradient is divided by its
/// l1 norm and added to `decay` times the sum so far (their eq. 6 and 7). Projection and shared
/// gradients work as in [`Bim`](crate::Bim). The paper's alpha is `epsilon / steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MiFgsm {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Factor of the accumulated gradient at each step, at least 0. With 0 the attack is BIM.
    pub decay: f64,
}

impl Default for MiFgsm {
    /// Alpha 0.01 and 3 steps, as in [`Bim`](crate::Bim), with the paper's decay of 1.
    fn default() -> Self {
        Self { alpha: 0.01, steps: 3, decay: 1.0 }
    }
}

impl CurveDefaults for MiFgsm {
    /// Alpha 0.004, 10 steps, decay 1.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10, ..Self::default() }
    }
}

impl Attack for MiFgsm {
    fn name(&self) -> &'static str {
        "mi_fgsm"
    }

    fn title(&self) -> &'static str {
        "MI-FGSM"
    }

    fn summary(&self) -> &'static str {
        "The momentum iterative method."
    }

    fn validate(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_steps(self.steps)?;
        check_decay(self.decay)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let Self { alpha, steps, decay } = *self;
        let objective = &|_, _| PixelObjective::CrossEntropy;
        let iteration = Iteration { alpha, steps, objective, decay: Some(decay), norm: Norm::Linf };
        iteration.examples(case, epsilons, Start::Image, random)
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }
}
