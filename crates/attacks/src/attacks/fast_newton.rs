//! The Fast Newton method: Wiens, Hammer, *Single-step Adversarial Training for Semantic
//! Segmentation*, ICPRAM 2022.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, l1_norm_per_image, sign_step};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::epsilon::EpsilonRole;
use crate::gradient::{InputGradient, finite, unchecked};
use crate::{Adversarial, Attack, Case, Result};

/// One step along the sign of the mean gain's gradient. Its length is where Newton's method expects
/// the gain to be zero.
///
/// `epsilon = g / norm_1(grad g)` (eq. 18) and `x_adv = clip01(x - epsilon * sign(grad g))` (eq.
/// 19). The mean gain g is the mean, over the labelled pixels, of own logit minus best other logit
/// (eq. 14 and 17). There is no ball to project onto: the argument epsilon limits the length of the
/// step. Where the gradient vanishes, for example without labelled pixels, the step is 0. All
/// limits share one gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FastNewton {
    /// How to treat an image whose mean gain is negative.
    pub negative_gain: NegativeGain,
}

/// How [`FastNewton`] treats images whose mean gain is negative, that is, images that are mostly
/// wrong already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NegativeGain {
    /// Eq. 18 as written: epsilon is negative, and the step leads towards the right labels.
    #[default]
    Literal,
    /// Epsilon is 0: the image does not change.
    Clamp,
    /// The sample stays clean. Its image is the same as under `clamp`, and the reported epsilon is
    /// 0.
    Skip,
    /// The absolute value of eq. 18: the step leads away from the right labels.
    Abs,
}

impl FastNewton {
    /// The step length of eq. 18 for each image, from its gain and gradient norm, all (N). The
    /// options are applied, and `limit` is the maximum.
    fn step(self, gain: &Tensor, norm: &Tensor, limit: f64) -> Result<Tensor> {
        let newton = (gain / norm)?;
        let epsilon = match self.negative_gain {
            NegativeGain::Literal => newton,
            NegativeGain::Clamp | NegativeGain::Skip => newton.relu()?,
            NegativeGain::Abs => newton.abs()?,
        };
        let epsilon = match limit as f32 {
            f32::INFINITY => epsilon,
            limit => epsilon.clamp(-limit, limit)?,
        };
        Ok(norm.eq(0_f32)?.where_cond(&norm.zeros_like()?, &epsilon)?)
    }
}

impl CurveDefaults for FastNewton {}

impl Attack for FastNewton {
    fn name(&self) -> &'static str {
        "fast_newton"
    }

    fn title(&self) -> &'static str {
        "Fast Newton"
    }

    fn summary(&self) -> &'static str {
        "The Fast Newton method."
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        _random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let (InputGradient { value, gradient }, _) =
            unchecked(case.model(), case.image(), case.label(), PixelObjective::Gain)?;
        let norm = l1_norm_per_image(&gradient)?;
        let image = case.image().detach();
        let example = |limit: f64| {
            let epsilon = self.step(&value, &norm, limit)?;
            Ok(Adversarial { image: sign_step(&image, &gradient, &epsilon.neg()?)?, epsilon })
        };
        let examples = epsilons.iter().map(|&limit| example(limit)).collect::<Result<Vec<_>>>()?;
        // By now the GPU has all its work enqueued.
        finite("objective", &value.to_vec1()?)?;
        finite("norm of the mean gain's gradient", &norm.to_vec1()?)?;
        for example in &examples {
            finite("Fast Newton step", &example.epsilon.to_vec1()?)?;
        }
        Ok(examples.into_iter().map(|example| vec![example]).collect())
    }

    fn epsilon_role(&self) -> EpsilonRole {
        EpsilonRole::Limit
    }

    fn backward_passes(&self, _epsilons: u64) -> u64 {
        1
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }

    fn fills_the_ball(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(negative_gain: NegativeGain, limit: Option<f64>, gain: f32, norm: f32) -> f32 {
        let one = |value: f32| Tensor::new(&[value], &candle_core::Device::Cpu).unwrap();
        let step = FastNewton { negative_gain }.step(&one(gain), &one(norm), limit.unwrap_or(f64::INFINITY));
        step.unwrap().to_vec1().unwrap()[0]
    }

    #[test]
    fn options_follow_their_descriptions() {
        use NegativeGain::{Abs, Clamp, Literal, Skip};
        for option in [Literal, Clamp, Skip, Abs] {
            assert_eq!(step(option, None, 0.5, 4.0), 0.125);
            assert_eq!(step(option, Some(0.1), 0.5, 4.0), 0.1);
            assert_eq!(step(option, None, 0.5, 0.0), 0.0);
        }
        assert_eq!(step(Literal, None, -0.5, 4.0), -0.125);
        assert_eq!(step(Literal, Some(0.1), -0.5, 4.0), -0.1);
        assert_eq!(step(Clamp, None, -0.5, 4.0), 0.0);
        assert_eq!(step(Skip, None, -0.5, 4.0), 0.0);
        assert_eq!(step(Abs, None, -0.5, 4.0), 0.125);
    }
}
