//! The Fast Newton method: Wiens, Hammer, *Single-step Adversarial Training for Semantic Segmentation*,
//! ICPRAM 2022.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, l1_norm_per_image, sign_step};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::gradient::{finite, unchecked};
use crate::{Adversarial, Attack, InputGradient, Model, Result, check_epsilon, input};

/// One step along the sign of the mean gain's gradient, as far as Newton's method puts the gain's zero.
///
/// `epsilon = g / norm_1(grad g)` (eq. 18) and `x_adv = clip01(x - epsilon * sign(grad g))` (eq. 19), where the
/// mean gain g is the mean over the labelled pixels of own logit minus best other logit (eq. 14 and 17). There
/// is no ball to project onto. Where the gradient vanishes (no labelled pixel, say), epsilon is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FastNewton {
    /// What happens to an image whose mean gain is below zero.
    pub negative_gain: NegativeGain,
    /// The largest step's magnitude, in `[0, 1]`; none by default.
    pub max_epsilon: Option<f64>,
}

/// What [`FastNewton`] does with an image whose mean gain is below zero: most of it is wrong already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NegativeGain {
    /// Eq. 18 as written: epsilon is negative, the step goes towards the right labels.
    #[default]
    Literal,
    /// Epsilon is 0: a step of no length.
    Clamp,
    /// The sample stays clean; its image is the same as under `clamp`, and epsilon is reported as 0.
    Skip,
    /// The magnitude of eq. 18: the step goes away from the right labels.
    Abs,
}

impl FastNewton {
    /// Eq. 18 with the options applied, for each image's gain and norm, all (N).
    fn epsilon(&self, gain: &Tensor, norm: &Tensor) -> Result<Tensor> {
        let newton = (gain / norm)?;
        let epsilon = match self.negative_gain {
            NegativeGain::Literal => newton,
            NegativeGain::Clamp | NegativeGain::Skip => newton.relu()?,
            NegativeGain::Abs => newton.abs()?,
        };
        let epsilon = match self.max_epsilon {
            Some(limit) => epsilon.clamp(-(limit as f32), limit as f32)?,
            None => epsilon,
        };
        Ok(norm.eq(0_f32)?.where_cond(&norm.zeros_like()?, &epsilon)?)
    }
}

impl Attack for FastNewton {
    fn name(&self) -> &'static str {
        "fast_newton"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        self.max_epsilon.map_or(Ok(()), check_epsilon)?;
        input::check(image, label)?;
        let (InputGradient { value, gradient }, _) = unchecked(model, image, label, PixelObjective::Gain)?;
        let norm = l1_norm_per_image(&gradient)?;
        let epsilon = self.epsilon(&value, &norm)?;
        let image = sign_step(&image.detach(), &gradient, &epsilon.neg()?)?;
        // A GPU has all of it under way by now.
        finite("objective", &value.to_vec1()?)?;
        finite("norm of the mean gain's gradient", &norm.to_vec1()?)?;
        finite("Fast Newton step", &epsilon.to_vec1()?)?;
        Ok(Adversarial { image, epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon(negative_gain: NegativeGain, max_epsilon: Option<f64>, gain: f32, norm: f32) -> f32 {
        let one = |value: f32| Tensor::new(&[value], &candle_core::Device::Cpu).unwrap();
        let attack = FastNewton { negative_gain, max_epsilon };
        attack.epsilon(&one(gain), &one(norm)).unwrap().to_vec1().unwrap()[0]
    }

    #[test]
    fn options_follow_their_descriptions() {
        use NegativeGain::{Abs, Clamp, Literal, Skip};
        for option in [Literal, Clamp, Skip, Abs] {
            assert_eq!(epsilon(option, None, 0.5, 4.0), 0.125);
            assert_eq!(epsilon(option, Some(0.1), 0.5, 4.0), 0.1);
            assert_eq!(epsilon(option, None, 0.5, 0.0), 0.0);
        }
        assert_eq!(epsilon(Literal, None, -0.5, 4.0), -0.125);
        assert_eq!(epsilon(Literal, Some(0.1), -0.5, 4.0), -0.1);
        assert_eq!(epsilon(Clamp, None, -0.5, 4.0), 0.0);
        assert_eq!(epsilon(Skip, None, -0.5, 4.0), 0.0);
        assert_eq!(epsilon(Abs, None, -0.5, 4.0), 0.125);
    }
}
