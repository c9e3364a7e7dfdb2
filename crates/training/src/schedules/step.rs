//! Steps down.

use serde::{Deserialize, Serialize};

use super::{Course, Position};
use crate::ranges::check;
use crate::{Error, Result};

/// A learning rate that is multiplied by `factor` at each of the epochs `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Epochs, or parts of one, in rising order, above 0 and below the epochs of the training.
    pub at: Vec<f64>,
    /// The factor at each of them, above 0 and at most 1.
    #[serde(default = "tenth")]
    pub factor: f64,
}

fn tenth() -> f64 {
    0.1
}

impl Course for Step {
    fn validate(&self, epochs: usize) -> Result<()> {
        let refuse = |reason: String| Err(Error::Setting { field: "schedule.step.at", reason });
        if self.at.is_empty() {
            return refuse("names no epoch; name one, or take the schedule constant".into());
        }
        if let Some(at) = self.at.iter().find(|&&at| !(at > 0.0 && at < epochs as f64)) {
            return refuse(format!("{at} is not between 0 and the {epochs} epochs of the training"));
        }
        if let Some([first, second, ..]) = self.at.windows(2).find(|pair| pair[0] >= pair[1]) {
            return refuse(format!("{first} does not come before {second}; put the epochs in rising order"));
        }
        let factor = self.factor;
        check("schedule.step.factor", factor, factor > 0.0 && factor <= 1.0, "must be above 0 and at most 1")
    }

    fn factor(&self, position: Position) -> f64 {
        let Position { step, total, epochs, .. } = position;
        let start = |at: &&f64| (**at / epochs as f64 * total as f64).round() as u64 <= step;
        let falls = self.at.iter().take_while(start).count();
        self.factor.powi(falls as i32)
    }
}
