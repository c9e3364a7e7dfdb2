//! N-FGSM: de Jorge, Bibi, Volpi, Sanyal, Torr, Rogez, Dokania, *Make Some Noise: Reliable and
//! Efficient Single-Step Adversarial Training*, `NeurIPS` 2022.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Case, Fgsm, check_alpha, check_radius};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::noise::noisy;
use super::range::refuse;
use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;

/// FGSM around a noisy image: noise from `U(-k epsilon, k epsilon)` and a step of size `alpha`,
/// without a projection. The example may be up to `k epsilon + alpha` away from the image. The
/// point of the method is that it is clipped to `[0, 1]` but not to a ball.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NFgsm {
    /// The radius of the intended robustness, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of the step, in `(0, 1]`. The default is `epsilon`, as in the paper.
    pub alpha: Option<f64>,
    /// Magnitude of the noise in units of `epsilon`, at least 0.
    pub k: f64,
}

impl Default for NFgsm {
    /// Epsilon 0.03, the same alpha, and the paper's k = 2.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None, k: 2.0 }
    }
}

impl Method for NFgsm {
    fn name(&self) -> &'static str {
        "n_fgsm"
    }

    fn title(&self) -> &'static str {
        "N-FGSM"
    }

    fn summary(&self) -> &'static str {
        "FGSM around a noisy image, not clipped to a ball."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        self.alpha.map_or(Ok(()), check_alpha)?;
        if self.k >= 0.0 && self.k.is_finite() {
            return Ok(());
        }
        Err(refuse("k", self.k, "must be at least 0; the paper has 2"))
    }

    /// All samples, on batch statistics, because the authors' model is in training mode throughout.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * 2.0
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for NFgsm {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let (noise, alpha) = (self.k * self.epsilon, self.alpha.unwrap_or(self.epsilon));
        let start = noisy(case.image(), noise, random)?;
        let image = Fgsm {}.perturb(&Case::new(case.model(), &start, case.label())?, alpha, random)?.image;
        let epsilon = Tensor::full((noise + alpha) as f32, case.len(), start.device())?;
        Ok(Some(Adversarial { image, epsilon }))
    }
}
