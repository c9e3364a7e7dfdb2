//! Projected gradient descent: Madry, Makelov, Schmidt, Tsipras, Vladu, *Towards Deep Learning
//! Models Resistant to Adversarial Attacks*, ICLR 2018.

use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::iteration::Iteration;
use crate::ranges::{check_restarts, check_steps};
use crate::{Adversarial, Attack, Bim, Candidates, Case, Norm, Result, Start};

/// [`Bim`] from `restarts` random points of the ball. Of each image, the example with the largest
/// cross-entropy wins. A start is the same point of the ball, relative to its radius, at every
/// epsilon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Pgd {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps from each start, at least 1.
    pub steps: usize,
    /// Number of random starts, at least 1.
    pub restarts: usize,
    /// The norm of the ball; epsilon and alpha have its unit.
    pub norm: Norm,
}

impl Default for Pgd {
    /// Alpha 0.01 and 3 steps, as in [`Bim`], with one start.
    fn default() -> Self {
        Self { alpha: 0.01, steps: 3, restarts: 1, norm: Norm::Linf }
    }
}

impl CurveDefaults for Pgd {
    /// Alpha 0.004, 10 steps, five starts.
    fn in_curves() -> Self {
        Self { alpha: 0.004, steps: 10, restarts: 5, ..Self::default() }
    }
}

impl Attack for Pgd {
    fn name(&self) -> &'static str {
        "pgd"
    }

    fn title(&self) -> &'static str {
        "PGD"
    }

    fn summary(&self) -> &'static str {
        "Projected gradient descent from random starts."
    }

    fn validate(&self) -> Result<()> {
        self.norm.check_alpha(self.alpha)?;
        check_steps(self.steps)?;
        check_restarts(self.restarts)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let Self { alpha, steps, restarts, norm } = *self;
        let iteration = Iteration { norm, ..Bim { alpha, steps }.iteration() };
        let mut found = vec![Vec::with_capacity(restarts); epsilons.len()];
        for _ in 0..restarts {
            let examples = iteration.examples(case, epsilons, Start::Random, random)?;
            for (found, examples) in found.iter_mut().zip(examples) {
                found.extend(examples);
            }
        }
        Ok(found)
    }

    fn candidates(&self) -> Candidates {
        Candidates::Starts(self.restarts)
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64).saturating_mul(self.restarts as u64)
    }

    fn norm(&self) -> Norm {
        self.norm
    }
}
