//! `CosPGD`: Agnihotri, Jung, Keuper, *CosPGD: An Efficient White-Box Adversarial Attack for
//! Pixel-Wise Prediction Tasks*, ICML 2024.

use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::check_steps;
use crate::{Adversarial, Attack, Case, Norm, Result, Start};

/// Iterated steps on a weighted cross-entropy. The weight of a pixel is the cosine similarity of
/// its class probabilities and its one-hot label. The gradient treats the weight as a constant. The
/// paper starts at a random point of the ball ([`Start::Random`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CosPgd {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
    /// The norm of the ball; epsilon and alpha have its unit.
    pub norm: Norm,
}

impl Default for CosPgd {
    /// Alpha 0.01 and 3 steps from the image, as in [`Bim`](crate::Bim). Draws nothing.
    fn default() -> Self {
        Self { alpha: 0.01, steps: 3, start: Start::Image, norm: Norm::Linf }
    }
}

impl CurveDefaults for CosPgd {
    /// Alpha 0.004 and 10 steps from a random start, as in the paper.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10, start: Start::Random, ..Self::default() }
    }
}

/// The objective of every step.
fn objective(_step: usize, _steps: usize) -> PixelObjective {
    PixelObjective::CosPgd
}

impl Attack for CosPgd {
    fn name(&self) -> &'static str {
        "cospgd"
    }

    fn title(&self) -> &'static str {
        "CosPGD"
    }

    fn summary(&self) -> &'static str {
        "CosPGD: pixels weighted by how well they are predicted."
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
