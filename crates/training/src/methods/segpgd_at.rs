//! `SegPGD` adversarial training: Gu, Zhao, Tresp, Torr, *`SegPGD`: An Effective and Efficient Adversarial Attack for
//! Evaluating and Boosting Segmentation Robustness*, ECCV 2022.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Model, SegPgd, Start};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::TrainingMethod;
use crate::Result;

/// `SegPGD` from a random start in the ball (algorithm 1): pixels that are right weigh `1 - lambda`, wrong ones
/// `lambda`, where `lambda = (t - 1) / 2T` at step t of T. As in the paper (algorithm 2), exactly
/// half of each batch is attacked, unless the spec says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SegPgdAt {
    /// Radius of the l-infinity ball, and of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
}

impl Default for SegPgdAt {
    /// Epsilon 0.03, alpha 0.01, 3 steps.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3 }
    }
}

impl SegPgdAt {
    /// The attack that crafts the examples.
    pub(super) fn attack(&self) -> SegPgd {
        let Self { epsilon, alpha, steps } = *self;
        SegPgd { epsilon, alpha, steps, start: Start::Random }
    }
}

impl TrainingMethod for SegPgdAt {
    fn name(&self) -> &'static str {
        "segpgd_at"
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        Ok(Some(self.attack().perturb(model, images, labels, random)?))
    }
}
