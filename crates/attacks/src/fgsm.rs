//! The fast gradient sign method: Goodfellow, Shlens, Szegedy, *Explaining and Harnessing Adversarial
//! Examples*, ICLR 2015.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, sign_step};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::gradient::{finite, unchecked};
use crate::{Adversarial, Attack, InputGradient, Model, Result, check_epsilon, input};

/// One step of size `epsilon` along the sign of the cross-entropy's gradient, eq. 3.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Fgsm {
    /// Size of the step, in `[0, 1]`.
    pub epsilon: f64,
}

impl Default for Fgsm {
    /// The paper's: 0.03.
    fn default() -> Self {
        Self { epsilon: 0.03 }
    }
}

impl Attack for Fgsm {
    fn name(&self) -> &'static str {
        "fgsm"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        check_epsilon(self.epsilon)?;
        let epsilon =
            Tensor::full(self.epsilon as f32, image.dims().first().copied().unwrap_or(0), image.device())?;
        step(model, image, label, epsilon)
    }
}

/// One step along the sign of the cross-entropy's gradient, of each image's own size `epsilon` (N).
pub(crate) fn step(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    epsilon: Tensor,
) -> Result<Adversarial> {
    input::check(image, label)?;
    let (InputGradient { value, gradient }, _) =
        unchecked(model, image, label, PixelObjective::CrossEntropy)?;
    let image = sign_step(&image.detach(), &gradient, &epsilon)?;
    finite("objective", &value.to_vec1()?)?;
    Ok(Adversarial { image, epsilon })
}
