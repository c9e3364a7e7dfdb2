//! RS-FGSM: Wong, Rice, Kolter, *Fast is better than free: Revisiting adversarial training*, ICLR
//! 2020.

use robustseg_attacks::{Adversarial, Attack, Case, Pgd, check_alpha, check_radius};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;

/// FGSM from a random start: noise from `U(-epsilon, epsilon)`, one step of size `alpha`, and a
/// projection onto the ball of radius `epsilon` (algorithm 3).
///
/// The paper stops early, with the previous weights, when PGD robustness on training data drops
/// suddenly. Here the monitor does that: set `monitor: {then: roll_back}` next to the method
/// ([`MonitorConfig`](crate::MonitorConfig)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RsFgsm {
    /// Radius of the l-infinity ball and of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of the step, in `(0, 1]`. The default is 1.25 times `epsilon`, as in the paper.
    pub alpha: Option<f64>,
}

impl Default for RsFgsm {
    /// Epsilon 0.03 and alpha 1.25 times epsilon.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None }
    }
}

impl RsFgsm {
    /// The adversarial examples.
    pub(super) fn example(&self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Adversarial> {
        let attack = Pgd { alpha: self.step(), steps: 1, restarts: 1, ..Pgd::default() };
        Ok(attack.perturb(case, self.epsilon, random)?)
    }

    /// The size of the step, at most 1 because images are in `[0, 1]`.
    fn step(&self) -> f64 {
        self.alpha.unwrap_or((1.25 * self.epsilon).min(1.0))
    }
}

impl Method for RsFgsm {
    fn name(&self) -> &'static str {
        "rs_fgsm"
    }

    fn title(&self) -> &'static str {
        "RS-FGSM"
    }

    fn summary(&self) -> &'static str {
        "FGSM from a random start in the ball."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        Ok(check_alpha(self.step())?)
    }

    /// All samples, on batch statistics, because the authors' model is in training mode throughout.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * 2.0
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for RsFgsm {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        self.example(case, random).map(Some)
    }
}
