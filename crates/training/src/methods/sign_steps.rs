//! The settings of methods that craft examples by iterated sign steps.

use robustseg_attacks::{check_alpha, check_radius, check_steps};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Iterated sign steps in a ball.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SignSteps {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
}

impl Default for SignSteps {
    /// Epsilon 0.03, alpha 0.01, 3 steps.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: 0.01, steps: 3 }
    }
}

impl SignSteps {
    /// Refuses settings out of range.
    pub(super) fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        check_alpha(self.alpha)?;
        Ok(check_steps(self.steps)?)
    }

    /// The cost of the gradients in forward passes.
    pub(super) fn cost(&self) -> f64 {
        (2 * self.steps) as f64
    }
}
