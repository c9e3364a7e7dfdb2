//! PGD adversarial training: Madry, Makelov, Schmidt, Tsipras, Vladu, *Towards Deep Learning Models Resistant to
//! Adversarial Attacks*, ICLR 2018.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Model, Pgd};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::TrainingMethod;
use crate::Result;

/// BIM from a random start in the ball, of every sample. The literature on segmentation attacks exactly half of each batch:
/// `adversarial_probability: 0.5` and `adversarial_draw: exact` next to the method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PgdAt {
    /// Radius of the l-infinity ball, and of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
}

impl Default for PgdAt {
    /// Epsilon 0.03, alpha 0.01, 3 steps.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3 }
    }
}

impl PgdAt {
    /// The attack that crafts the examples.
    pub(super) fn attack(&self) -> Pgd {
        let Self { epsilon, alpha, steps } = *self;
        Pgd { epsilon, alpha, steps, restarts: 1 }
    }
}

impl TrainingMethod for PgdAt {
    fn name(&self) -> &'static str {
        "pgd_at"
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
