//! `TsallisPGD`, an attack on the Tsallis cross-entropy, IJCNN 2026

use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::{check_alpha, check_steps};
use crate::tsallis::{FIRST_AND_LAST, check_q, objective};
use crate::{Adversarial, Attack, Case, Norm, Result, Start};

/// Iterated sign steps on the Tsallis cross-entropy
/// ([`PixelObjective::Tsallis`](crate::PixelObjective::Tsallis)). Its q runs linearly from
/// `first_q` at the first step to `last_q` at the last. A pixel's gradient is that of the
/// cross-entropy times `p^(1 - q)`, where p is its label's probability: early steps favour pixels
/// that are right, later ones treat all pixels alike.
///
/// [`TsallisApgd`](crate::TsallisApgd) is its authors' attack, which takes APGD's steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TsallisPgd {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Where to start.
    pub start: Start,
    /// The objective's q at the first step, from -100 to 1.
    pub first_q: f64,
    /// The objective's q at the last step, from -100 to 1.
    pub last_q: f64,
}

impl Default for TsallisPgd {
    /// Alpha 0.01 and 3 steps from the image, as in [`Bim`](crate::Bim), and the paper's q from -2
    /// to 1. Draws nothing.
    fn default() -> Self {
        let [first_q, last_q] = FIRST_AND_LAST;
        Self { alpha: 0.01, steps: 3, start: Start::Image, first_q, last_q }
    }
}

impl CurveDefaults for TsallisPgd {
    /// Alpha 0.004 and 10 steps from a random start.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10, start: Start::Random, ..Self::default() }
    }
}

impl Attack for TsallisPgd {
    fn name(&self) -> &'static str {
        "tsallis_pgd"
    }

    fn title(&self) -> &'static str {
        "TsallisPGD"
    }

    fn summary(&self) -> &'static str {
        "TsallisPGD with plain sign steps: pixels weighted by a power of their label's probability."
    }

    fn validate(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_steps(self.steps)?;
        check_q([self.first_q, self.last_q])
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let Self { alpha, steps, start, first_q, last_q } = *self;
        let objective = &|step, steps| objective([first_q, last_q], step, steps);
        let iteration = Iteration { alpha, steps, objective, decay: None, norm: Norm::Linf };
        iteration.examples(case, epsilons, start, random)
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }

    fn starts_at_the_image(&self) -> bool {
        self.start == Start::Image
    }
}
