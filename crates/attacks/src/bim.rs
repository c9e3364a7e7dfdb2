//! The basic iterative method: Kurakin, Goodfellow, Bengio, *Adversarial Examples in the Physical World*,
//! ICLR workshop 2017.

use candle_core::Tensor;
use robustseg_ops::PixelObjective;
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::iteration::Iteration;
use crate::{Adversarial, Attack, Model, Result};

/// `steps` steps of size `alpha` along the sign of the cross-entropy's gradient, each projected onto the
/// ball of radius `epsilon`, without a random start, eq. 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Bim {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
}

impl Default for Bim {
    /// The paper's for training: epsilon 0.03, alpha 0.01, 3 steps.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3 }
    }
}

/// The objective of every step.
fn objective(_step: usize, _steps: usize) -> PixelObjective {
    PixelObjective::CrossEntropy
}

/// BIM's steps of size `alpha`.
pub(crate) fn iteration(alpha: f64, steps: usize) -> Iteration {
    Iteration { alpha, steps, objective, decay: None }
}

impl Attack for Bim {
    fn name(&self) -> &'static str {
        "bim"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        iteration(self.alpha, self.steps).attack(model, image, label, self.epsilon)
    }
}
