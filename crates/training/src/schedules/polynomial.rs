//! Polynomial decay.

use serde::{Deserialize, Serialize};

use super::{Course, Position, check_end};
use crate::Result;

/// `end + (1 - end) (1 - step / total)^power`, with the exponent `training.power`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Polynomial {
    /// The share of the learning rate that the decay ends with, from 0 to 1.
    pub end: f64,
}

impl Course for Polynomial {
    fn validate(&self, _epochs: usize) -> Result<()> {
        check_end("schedule.polynomial.end", self.end)
    }

    fn factor(&self, position: Position) -> f64 {
        self.end + (1.0 - self.end) * (1.0 - position.done()).powf(position.power)
    }
}
