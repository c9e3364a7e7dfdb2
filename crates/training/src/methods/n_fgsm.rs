//! N-FGSM: de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez, Dokania, *Make Some Noise: Reliable and Efficient Single-Step
//! Adversarial Training*, `NeurIPS` 2022.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Fgsm, Model, check_alpha, check_epsilon};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{TrainingMethod, noisy, refuse};
use crate::Result;

/// FGSM around a noisy image: noise from `U(-k epsilon, k epsilon)` and a step of size `alpha`, both kept. The example
/// may be up to `k epsilon + alpha` away: it is not clipped to a ball, which is the method's point, but to `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NFgsm {
    /// The radius that robustness is wanted for, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of the step, in `(0, 1]`; `epsilon` by default, as in the paper.
    pub alpha: Option<f64>,
    /// Magnitude of the noise in units of `epsilon`, at least 0.
    pub k: f64,
}

impl Default for NFgsm {
    /// Epsilon 0.03, alpha the same, and the paper's k = 2.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None, k: 2.0 }
    }
}

impl NFgsm {
    /// Refuses settings out of range.
    pub(super) fn validate(&self) -> Result<()> {
        check_epsilon(self.epsilon)?;
        self.alpha.map_or(Ok(()), check_alpha)?;
        if self.k >= 0.0 && self.k.is_finite() {
            return Ok(());
        }
        Err(refuse("k", self.k, "must be at least 0; the paper has 2"))
    }
}

impl TrainingMethod for NFgsm {
    fn name(&self) -> &'static str {
        "n_fgsm"
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        let (noise, alpha) = (self.k * self.epsilon, self.alpha.unwrap_or(self.epsilon));
        let start = noisy(images, noise, random)?;
        let image = Fgsm { epsilon: alpha }.perturb(model, &start, labels, random)?.image;
        let epsilon = Tensor::full((noise + alpha) as f32, images.dim(0)?, images.device())?;
        Ok(Some(Adversarial { image, epsilon }))
    }
}
