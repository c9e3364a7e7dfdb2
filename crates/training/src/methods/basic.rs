//! Training on clean samples.

use robustseg_attacks::{Adversarial, Case};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::method::{Method, TrainingMethod};

/// Trains on clean samples only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {}

impl Method for Basic {
    fn name(&self) -> &'static str {
        "basic"
    }

    fn title(&self) -> &'static str {
        "Basic"
    }

    fn summary(&self) -> &'static str {
        "Clean samples alone."
    }

    fn crafts(&self) -> bool {
        false
    }

    fn cost(&self, _probability: f64, _pixels: usize) -> f64 {
        3.0
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(*self)
    }
}

impl TrainingMethod for Basic {
    fn craft(&mut self, _case: &Case<'_>, _random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        Ok(None)
    }
}
