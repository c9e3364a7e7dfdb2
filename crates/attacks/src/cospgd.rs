//! `CosPGD`: Agnihotri, Jung, Keuper, *CosPGD: An Efficient White-Box Adversarial Attack for Pixel-Wise
//! Prediction Tasks*, ICML 2024.

use candle_core::Tensor;
use robustseg_ops::PixelObjective;
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::iteration::{Iteration, adversarial};
use crate::{Adversarial, Attack, Model, Result, Start};

/// Iterated steps on a cross-entropy that weighs each pixel by the cosine similarity of its class
/// probabilities and its one-hot label, the weight being held fixed in the gradient. The paper starts at a random point of
/// the ball ([`Start::Random`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CosPgd {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
}

impl Default for CosPgd {
    /// Epsilon 0.03, alpha 0.01, 3 steps from the image, as [`Bim`](crate::Bim): nothing is drawn.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3, start: Start::Image }
    }
}

/// The objective of every step.
fn objective(_step: usize, _steps: usize) -> PixelObjective {
    PixelObjective::CosPgd
}

/// `CosPGD`'s steps of size `alpha`.
pub(crate) fn iteration(alpha: f64, steps: usize) -> Iteration {
    Iteration { alpha, steps, objective, decay: None }
}

impl Attack for CosPgd {
    fn name(&self) -> &'static str {
        "cospgd"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        let iteration = iteration(self.alpha, self.steps);
        let moved = iteration.curve_from(self.start, model, image, label, &[self.epsilon], random)?;
        adversarial(moved, self.epsilon)
    }
}
