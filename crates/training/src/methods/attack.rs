//! Attacks as training methods.

use robustseg_attacks::{Adversarial, AttackConfig, Case};
use robustseg_random::Rng;
use serde_json::Value;

use crate::Result;
use crate::method::{Method, TrainingMethod};

/// Every attack is a training method: its adversarial examples replace the drawn samples (eq. 13 of
/// Wiens & Hammer 2022).
impl Method for AttackConfig {
    fn name(&self) -> &'static str {
        self.attack().name()
    }

    fn title(&self) -> &'static str {
        self.attack().title()
    }

    fn summary(&self) -> &'static str {
        self.attack().summary()
    }

    fn validate(&self) -> Result<()> {
        Ok(AttackConfig::validate(self)?)
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * 2.0 * self.attack().backward_passes(1) as f64
    }

    fn spec(&self) -> Value {
        serde_json::to_value(self).expect("settings are plain data")
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(self.clone())
    }
}

impl TrainingMethod for AttackConfig {
    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        Ok(Some(self.perturb(case, random)?))
    }
}
