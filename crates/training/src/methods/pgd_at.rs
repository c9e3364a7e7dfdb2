//! PGD adversarial training: Madry, Makelov, Schmidt, Tsipras, Vladu, *Towards Deep Learning Models
//! Resistant to Adversarial Attacks*, ICLR 2018.

use robustseg_attacks::{Adversarial, Attack, Case, Pgd};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::sign_steps::SignSteps;
use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;

/// BIM from a random start in the ball, on every sample. The literature on segmentation attacks
/// exactly half of each batch. To do the same, set `adversarial_probability: 0.5` and
/// `adversarial_draw: exact` next to the method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct PgdAt(pub SignSteps);

impl Method for PgdAt {
    fn name(&self) -> &'static str {
        "pgd_at"
    }

    fn title(&self) -> &'static str {
        "PGD-AT"
    }

    fn summary(&self) -> &'static str {
        "PGD adversarial training."
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    /// All samples, on batch statistics: Madry et al. 2018, sec. 2. Their program for CIFAR-10
    /// attacks the model in training mode.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * self.0.cost()
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for PgdAt {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let SignSteps { epsilon, alpha, steps } = self.0;
        Ok(Some(Pgd { alpha, steps, restarts: 1, ..Pgd::default() }.perturb(case, epsilon, random)?))
    }
}
