//! The momentum iterative method: Dong, Liao, Pang, Su, Zhu, Hu, Li, *Boosting Adversarial Attacks with Momentum*,
//! CVPR 2018.

use candle_core::Tensor;
use robustseg_ops::PixelObjective;
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::iteration::Iteration;
use crate::{Adversarial, Attack, Model, Result, check_decay};

/// Steps of size `alpha` along the sign of a sum of gradients: each divided by its l1 norm and added to `decay` times
/// the former sum (their eq. 6 and 7); projected as [`Bim`](crate::Bim)'s. Their alpha is `epsilon / steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MiFgsm {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// What is kept of the sum at a step, at least 0; with 0 it is BIM.
    pub decay: f64,
}

impl Default for MiFgsm {
    /// Epsilon 0.03, alpha 0.01, 3 steps, as [`Bim`](crate::Bim); decay 1, as the paper's.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3, decay: 1.0 }
    }
}

/// Its steps of size `alpha`.
pub(crate) fn iteration(alpha: f64, steps: usize, decay: f64) -> Result<Iteration> {
    check_decay(decay)?;
    let objective = |_, _| PixelObjective::CrossEntropy;
    Ok(Iteration { alpha, steps, objective, decay: Some(decay) })
}

impl Attack for MiFgsm {
    fn name(&self) -> &'static str {
        "mi_fgsm"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        iteration(self.alpha, self.steps, self.decay)?.attack(model, image, label, self.epsilon)
    }
}
