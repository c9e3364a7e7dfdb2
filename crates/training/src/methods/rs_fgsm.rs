//! RS-FGSM: Wong, Rice, Kolter, *Fast is better than free: Revisiting adversarial training*, ICLR 2020.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Model, Pgd, check_alpha, check_epsilon};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::TrainingMethod;
use crate::Result;

/// FGSM from a random start: noise from `U(-epsilon, epsilon)`, one step of size `alpha`, the projection onto the ball
/// of radius `epsilon` (algorithm 3).
///
/// The paper's early stop, at a sudden drop of PGD robustness on training data with the weights of before, is the monitor's:
/// `monitor: {then: roll_back}` beside the method ([`MonitorConfig`](crate::MonitorConfig)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RsFgsm {
    /// Radius of the l-infinity ball, and of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of the step, in `(0, 1]`; 1.25 times `epsilon` by default, as in the paper.
    pub alpha: Option<f64>,
}

impl Default for RsFgsm {
    /// Epsilon 0.03, alpha 1.25 times as much.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None }
    }
}

impl RsFgsm {
    /// Refuses settings out of range.
    pub(super) fn validate(&self) -> Result<()> {
        check_epsilon(self.epsilon)?;
        Ok(check_alpha(self.step())?)
    }

    /// The size of the step, of which more than 1 is 1 where images are in `[0, 1]`.
    fn step(&self) -> f64 {
        self.alpha.unwrap_or((1.25 * self.epsilon).min(1.0))
    }
}

impl TrainingMethod for RsFgsm {
    fn name(&self) -> &'static str {
        "rs_fgsm"
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        let attack = Pgd { epsilon: self.epsilon, alpha: self.step(), steps: 1, restarts: 1 };
        Ok(Some(attack.perturb(model, images, labels, random)?))
    }
}
