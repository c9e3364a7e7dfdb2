//! The ranges of settings.

use crate::{Error, Result};

/// Refuses a count of zero.
pub(crate) fn at_least_one(field: &'static str, value: usize) -> Result<()> {
    if value >= 1 {
        return Ok(());
    }
    Err(Error::Setting { field, reason: "must be at least 1".into() })
}

/// Refuses `value` unless it is `in_range` and finite.
pub(crate) fn check(field: &'static str, value: f64, in_range: bool, range: &str) -> Result<()> {
    if in_range && value.is_finite() {
        return Ok(());
    }
    Err(Error::Setting { field, reason: format!("{value} is out of range, it {range}") })
}
