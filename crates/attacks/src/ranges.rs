//! The ranges of attack settings.

use crate::{Error, Result};

/// Refuses a step size outside `(0, 1]`. For a value above 1 the message suggests that the unit was
/// 1/255.
pub fn check_alpha(alpha: f64) -> Result<()> {
    check_unit("alpha", alpha, alpha > 0.0, "must be a number above 0 and at most 1")
}

/// Refuses a number of steps below 1.
pub fn check_steps(steps: usize) -> Result<()> {
    check_count("steps", steps)
}

/// Refuses a number of starts below 1.
pub fn check_restarts(restarts: usize) -> Result<()> {
    check_count("restarts", restarts)
}

/// Refuses a decay of momentum that is negative or NaN.
pub fn check_decay(decay: f64) -> Result<()> {
    if decay >= 0.0 && decay.is_finite() {
        return Ok(());
    }
    refuse("decay", decay, "must be a number of at least 0")
}

/// Refuses a share of pixels outside `(0, 1]`.
pub fn check_share(setting: &'static str, share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    refuse(setting, share, "must be a number above 0 and at most 1")
}

fn check_count(setting: &'static str, count: usize) -> Result<()> {
    if count >= 1 { Ok(()) } else { refuse(setting, 0.0, "must be at least 1") }
}

/// Refuses a value above 1, or not `above_least`.
pub(crate) fn check_unit(setting: &'static str, value: f64, above_least: bool, range: &str) -> Result<()> {
    if above_least && value <= 1.0 {
        return Ok(());
    }
    if value > 1.0 && value.is_finite() {
        let levels = value / 255.0;
        let reason = format!("{setting} is in units of [0,1]; did you mean {value}/255 = {levels:.4}?");
        return refuse(setting, value, &reason);
    }
    refuse(setting, value, range)
}

fn refuse(setting: &'static str, value: f64, reason: &str) -> Result<()> {
    Err(Error::Setting { setting: setting.into(), value, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_has_its_ends() {
        assert!(check_alpha(0.0).is_err() && check_alpha(1.0).is_ok());
        assert!(check_steps(0).is_err() && check_restarts(0).is_err() && check_steps(1).is_ok());
        assert!(check_decay(-1.0).is_err() && check_decay(f64::NAN).is_err() && check_decay(0.0).is_ok());
        assert!(check_share("wrong", 0.0).is_err() && check_share("wrong", 1.0).is_ok());
    }
}
