//! `SegPGD`: Gu, Zhao, Tresp, Torr, *SegPGD: An Effective and Efficient Adversarial Attack for Evaluating and
//! Boosting Segmentation Robustness*, ECCV 2022.

use candle_core::Tensor;
use robustseg_ops::PixelObjective;
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::iteration::{Iteration, adversarial};
use crate::{Adversarial, Attack, Model, Result, Start};

/// Iterated steps on a cross-entropy that weighs right pixels by `1 - lambda` and wrong ones by `lambda`,
/// where `lambda = t / (2 * steps)` at step t = 0, 1, ...: right pixels first, all of them later. The paper starts at a random
/// point of the ball ([`Start::Random`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SegPgd {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
}

impl Default for SegPgd {
    /// Epsilon 0.03, alpha 0.01, 3 steps from the image, as [`Bim`](crate::Bim): nothing is drawn.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3, start: Start::Image }
    }
}

/// The objective at `step` of `steps`.
fn objective(step: usize, steps: usize) -> PixelObjective {
    PixelObjective::SegPgd { lambda: (step as f64 / (2 * steps) as f64) as f32 }
}

/// `SegPGD`'s steps of size `alpha`.
pub(crate) fn iteration(alpha: f64, steps: usize) -> Iteration {
    Iteration { alpha, steps, objective, decay: None }
}

impl Attack for SegPgd {
    fn name(&self) -> &'static str {
        "segpgd"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_pixels_count_more_and_more() {
        let lambdas = [0, 1, 3].map(|step| objective(step, 4));
        assert_eq!(lambdas, [0.0, 0.125, 0.375].map(|lambda| PixelObjective::SegPgd { lambda }));
    }
}
