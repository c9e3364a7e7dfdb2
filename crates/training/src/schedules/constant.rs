//! A constant learning rate.

use serde::{Deserialize, Serialize};

use super::{Course, Position};
use crate::Result;

/// The same learning rate at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Constant {}

impl Course for Constant {
    fn validate(&self, _epochs: usize) -> Result<()> {
        Ok(())
    }

    fn factor(&self, _position: Position) -> f64 {
        1.0
    }
}
