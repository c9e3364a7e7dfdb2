//! Cosine decay: Loshchilov, Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR
//! 2017, equation 5 without restarts.

use serde::{Deserialize, Serialize};

use super::{Course, Position, check_end};
use crate::Result;

/// `end + (1 - end) (1 + cos(pi step / total)) / 2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Cosine {
    /// The share of the learning rate that the decay ends with, from 0 to 1.
    pub end: f64,
}

impl Course for Cosine {
    fn validate(&self, _epochs: usize) -> Result<()> {
        check_end("schedule.cosine.end", self.end)
    }

    fn factor(&self, position: Position) -> f64 {
        let wave = f64::midpoint(1.0, (std::f64::consts::PI * position.done()).cos());
        self.end + (1.0 - self.end) * wave
    }
}
