//! `SegPGD` adversarial training: Gu, Zhao, Tresp, Torr, *`SegPGD`: An Effective and Efficient
//! Adversarial Attack for Evaluating and Boosting Segmentation Robustness*, ECCV 2022.

use robustseg_attacks::{Adversarial, Attack, Case, SegPgd, Start};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::sign_steps::SignSteps;
use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;

/// `SegPGD` from a random start in the ball (algorithm 1). Right pixels are weighted by `1 -
/// lambda` and wrong ones by `lambda`, where `lambda = (t - 1) / 2T` at step t of T. As in the
/// paper (algorithm 2), exactly half of each batch is attacked, unless the spec says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct SegPgdAt(pub SignSteps);

impl Method for SegPgdAt {
    fn name(&self) -> &'static str {
        "segpgd_at"
    }

    fn title(&self) -> &'static str {
        "SegPGD-AT"
    }

    fn summary(&self) -> &'static str {
        "SegPGD adversarial training."
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    /// Exactly half of each batch: Gu et al. 2022, algorithm 2. The paper does not mention the
    /// statistics.
    fn practice(&self) -> Practice {
        Practice::EXACT_HALF
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * self.0.cost()
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for SegPgdAt {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let SignSteps { epsilon, alpha, steps } = self.0;
        Ok(Some(
            SegPgd { alpha, steps, start: Start::Random, ..SegPgd::default() }
                .perturb(case, epsilon, random)?,
        ))
    }
}
