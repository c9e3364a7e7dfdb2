//! `SegPGD`: Gu, Zhao, Tresp, Torr, *SegPGD: An Effective and Efficient Adversarial Attack for
//! Evaluating and Boosting Segmentation Robustness*, ECCV 2022.

use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::check_steps;
use crate::{Adversarial, Attack, Case, Norm, Result, Start};

/// Iterated steps on a cross-entropy that weights right pixels by `1 - lambda` and wrong ones by
/// `lambda`, where `lambda = t / (2 * steps)` at step t = 0, 1, ... Early steps favour right
/// pixels, later ones treat all pixels alike. The paper starts at a random point of the ball
/// ([`Start::Random`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SegPgd {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
    /// The norm of the ball; epsilon and alpha have its unit.
    pub norm: Norm,
}

impl Default for SegPgd {
    /// Alpha 0.01 and 3 steps from the image, as in [`Bim`](crate::Bim). Draws nothing.
    fn default() -> Self {
        Self { alpha: 0.01, steps: 3, start: Start::Image, norm: Norm::Linf }
    }
}

impl CurveDefaults for SegPgd {
    /// Alpha 0.004 and 10 steps from a random start, as in the paper.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10, start: Start::Random, ..Self::default() }
    }
}

/// The objective at `step` of `steps`.
pub(super) fn objective(step: usize, steps: usize) -> PixelObjective {
    PixelObjective::SegPgd { lambda: (step as f64 / (2 * steps) as f64) as f32 }
}

impl Attack for SegPgd {
    fn name(&self) -> &'static str {
        "segpgd"
    }

    fn title(&self) -> &'static str {
        "SegPGD"
    }

    fn summary(&self) -> &'static str {
        "SegPGD: right pixels first, all pixels later."
    }

    fn validate(&self) -> Result<()> {
        self.norm.check_alpha(self.alpha)?;
        check_steps(self.steps)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let Self { alpha, steps, start, norm } = *self;
        let iteration = Iteration { alpha, steps, objective: &objective, decay: None, norm };
        iteration.examples(case, epsilons, start, random)
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn starts_at_the_image(&self) -> bool {
        self.start == Start::Image
    }

    fn norm(&self) -> Norm {
        self.norm
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
