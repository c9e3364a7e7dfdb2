//! Noisy Newton: a Newton step of random share from a noisy image.

mod length;
mod objective;
mod residual;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Case, check_radius};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::linearity::{Linearity, slopes};
use super::noise::{noisy, shares};
use super::range::refuse;
use crate::Result;
use crate::method::{Forward, Loss, Method, TrainingMethod, no_more};
use crate::practice::Practice;
use crate::samples::{Samples, rows};
use length::{Curvature, Length, of_images};
use objective::Objective;
pub use objective::{PixelWeights, StepGain};
use residual::{Prediction, Residuals};

/// A step of [`FastNewton`](robustseg_attacks::FastNewton) from a noisy image, with five options
/// that combine.
///
/// `x_0 = clip01(x + U(-noise epsilon, noise epsilon))`, `t = clip(G(x_0) / norm_1(grad G(x_0)), 0,
/// limit epsilon)` and `x_adv = clip01(x_0 - t u sign(grad G(x_0)))`. The share u is drawn from
/// U(0, 1) for each element. There is no projection. A negative gain makes no step: the example is
/// the noisy image. The noise without a ball is that of N-FGSM, the random share that of SORA. What
/// both lack is the length: one for each image, which shrinks near the decision boundary.
///
/// Options: `gain` and `weights` choose G, `local` gives every region a length of its own,
/// `curvature` corrects the length by the loss's own gradient, `residual` trains the network to be
/// linear along the step. The recorded epsilon is t, or its mean over the pixels if lengths are
/// local.
///
/// Cost: that of FGSM. `curvature` adds the stem's input gradient to the update's backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NoisyNewton {
    /// The radius of the intended robustness, in `[0, 1]`.
    pub epsilon: f64,
    /// Magnitude of the noise in units of `epsilon`, at least 0.
    pub noise: f64,
    /// The longest step in units of `epsilon`, above 0.
    pub limit: f64,
    /// The gain G that the step is to bring to zero.
    pub gain: StepGain,
    /// What each pixel counts in G.
    pub weights: PixelWeights,
    /// Radius, in pixels, of the square regions that have their own step lengths, at least 1. The
    /// default is one length for each image.
    pub local: Option<usize>,
    /// Whether the length follows a parabola instead of a line. With N the gradient's l1 norm, the
    /// gain along the step is `G - N t + kappa t^2 / 2` and `kappa = (1 - c) N / t_before`, with the
    /// mean length of the last steps. t is the first zero, or the minimum where no zero exists. The
    /// linearity c is a running mean as in [`Sora`](crate::Sora), of the share of the loss's
    /// gradient g' at the example that agrees with the step: `-sign(grad G) . g' / norm_1(g')`. SORA
    /// divides by the norm of the gradient before the step; here that is the gain's, in another unit
    /// than the loss.
    pub curvature: bool,
    /// The weight of the residual in the loss, at least 0. 0 is without it. The residual of an
    /// example is `((G(x_adv) - predicted) / (G(x_0) + 0.1))^2`, where `predicted = G(x_0) + grad G
    /// . (x_adv - x_0)` is constant. `G(x_adv)` comes from the update's own forward pass, with the
    /// pixels, weights and median of `x_0`. A residual counts where it exceeds its running mean
    /// (rate 0.05) by two deviations, as a mean over the examples.
    pub residual: f64,
}

impl Default for NoisyNewton {
    /// Epsilon 0.03, noise of twice epsilon as in N-FGSM, steps up to twice epsilon as in SORA, and
    /// no option.
    fn default() -> Self {
        Self {
            epsilon: 0.03,
            noise: 2.0,
            limit: 2.0,
            gain: StepGain::default(),
            weights: PixelWeights::default(),
            local: None,
            curvature: false,
            residual: 0.0,
        }
    }
}

impl Method for NoisyNewton {
    fn name(&self) -> &'static str {
        "noisy_newton"
    }

    fn title(&self) -> &'static str {
        "Noisy Newton"
    }

    fn summary(&self) -> &'static str {
        "A Newton step of random share from a noisy image, not clipped to a ball."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(refuse("noise", self.noise, "must be a number of at least 0, in units of epsilon"));
        }
        if !(self.limit > 0.0 && self.limit.is_finite()) {
            return Err(refuse("limit", self.limit, "must be a number above 0, in units of epsilon"));
        }
        if !(self.residual >= 0.0 && self.residual.is_finite()) {
            return Err(refuse("residual", self.residual, "must be a number of at least 0"));
        }
        match self.local {
            Some(0) => {
                Err(refuse("local", 0.0, "must be at least 1 pixel; leave it out for one length an image"))
            }
            _ => Ok(()),
        }
    }

    /// All samples, on batch statistics: the practice of N-FGSM, which the method is compared with.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * 2.0
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(Newton::new(*self))
    }
}

/// The method at work.
struct Newton {
    config: NoisyNewton,
    /// How well the loss's gradient at the examples agrees with the direction of the step.
    linearity: Linearity,
    /// Mean length of the last update's steps.
    before: Option<f32>,
    /// The step of this update.
    pending: Option<Pending>,
    residuals: Residuals,
    /// The positions of this update's examples in the batch.
    places: Vec<usize>,
    /// What the steps of this update are to reach.
    prediction: Option<Prediction>,
    /// The residuals of this update.
    fresh: Vec<f32>,
}

/// A step whose linearity is not known yet.
struct Pending {
    /// Signs of the gain's gradient, (M, 3, H, W).
    signs: Tensor,
    lengths: Vec<f32>,
}

impl Newton {
    fn new(config: NoisyNewton) -> Self {
        Self {
            config,
            linearity: Linearity::default(),
            before: None,
            pending: None,
            residuals: Residuals::default(),
            places: Vec::new(),
            prediction: None,
            fresh: Vec::new(),
        }
    }

    /// The curvature to assume, if the settings ask for one and an update has measured it.
    fn bend(&self) -> Option<Curvature> {
        let before = self.before.filter(|_| self.config.curvature)?;
        Some(Curvature { linearity: self.linearity.value(), before: f64::from(before) })
    }
}

impl TrainingMethod for Newton {
    fn prepare(&mut self, samples: &Samples<'_>) -> Result<()> {
        self.places = samples.drawn().map_or_else(Vec::new, |drawn| drawn.places.clone());
        (self.prediction, self.fresh) = (None, Vec::new());
        Ok(())
    }

    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let NoisyNewton { epsilon, noise, limit, gain, weights, local, curvature, residual } = self.config;
        let start = noisy(case.image(), noise * epsilon, random)?;
        let objective = Objective::at(case, &start, gain, weights, local.is_some())?;
        let length = Length { limit: limit * epsilon, bend: self.bend() };
        let lengths = match local {
            None => length.of_each_image(&objective)?,
            Some(radius) => length.of_each_region(&objective, radius)?,
        };
        let (per_image, signs) = (of_images(&lengths)?, objective.gradient.sign()?);
        let share = shares(start.shape(), start.device(), random)?;
        let image = (&start - (&signs * share)?.broadcast_mul(&lengths)?)?.clamp(0_f32, 1_f32)?;
        if curvature {
            self.pending = Some(Pending { signs, lengths: per_image.to_vec1()? });
        }
        if residual > 0.0 {
            let fall = (&objective.gradient * (&image - &start)?)?.flatten_from(1)?.sum(1)?;
            let (fixed, before) = (objective.fixed, objective.value.detach());
            self.prediction = Some(Prediction { fixed, expected: (&before + fall)?, before });
        }
        Ok(Some(Adversarial { image, epsilon: per_image }))
    }

    fn loss(&mut self, forward: &mut Forward<'_>) -> Result<Option<Loss>> {
        let Some(prediction) = self.prediction.take() else { return Ok(None) };
        let logits = forward.logits()?;
        let value = forward.loss(&logits)?;
        let (examples, alignment) = (rows(&logits, &self.places)?, forward.network().alignment());
        let after = prediction.fixed.at(&examples, alignment)?;
        let residuals = prediction.residuals(&after)?;
        self.fresh = residuals.to_vec1()?;
        let outlying = self.residuals.outlying(&residuals)?;
        let additional = outlying.map(|outlying| outlying * self.config.residual).transpose()?;
        Ok(Some(Loss { value, additional }))
    }

    fn wants_example_gradient(&self) -> bool {
        self.config.curvature
    }

    fn after_update(&mut self, example_gradient: Option<&Tensor>) -> Result<()> {
        self.residuals.learn(&std::mem::take(&mut self.fresh));
        let (Some(Pending { signs, lengths }), Some(gradient)) = (self.pending.take(), example_gradient)
        else {
            return Ok(());
        };
        // The loss rises where the gain falls.
        let slopes = slopes(&signs.neg()?, gradient)?;
        self.linearity.learn(&slopes, &robustseg_ops::l1_norm_per_image(gradient)?.to_vec1()?);
        let steps: Vec<f64> = lengths.into_iter().filter(|&t| t > 0.0).map(f64::from).collect();
        if !steps.is_empty() {
            self.before = Some((steps.iter().sum::<f64>() / steps.len() as f64) as f32);
        }
        Ok(())
    }

    fn linearity(&self) -> Option<f64> {
        self.config.curvature.then(|| self.linearity.value())
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state: BTreeMap<_, _> = self.residuals.state().collect();
        if self.config.curvature {
            state.extend(self.before.map(|before| (BEFORE.to_owned(), scalar(before))));
            state.insert(Linearity::NAME.to_owned(), self.linearity.to_tensor());
        }
        state
    }

    fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let (before, linearity) = (state.remove(BEFORE), state.remove(Linearity::NAME));
        let residuals = Residuals::take(&mut state)?;
        no_more(state)?;
        self.residuals = residuals;
        self.before = before.map(|tensor| tensor.flatten_all()?.get(0)?.to_scalar()).transpose()?;
        self.linearity = linearity.map_or(Ok(self.linearity), |tensor| Linearity::of_tensor(&tensor))?;
        Ok(())
    }
}

/// The name of [`Newton::before`] in a saved state.
const BEFORE: &str = "step_length";

fn scalar(value: f32) -> Tensor {
    Tensor::new(&[value], &candle_core::Device::Cpu).expect("a number on the CPU")
}
