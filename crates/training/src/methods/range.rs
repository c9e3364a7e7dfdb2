//! Errors for settings out of range.

use crate::Error;

/// The error for a setting of a method that is out of range.
pub(super) fn refuse(setting: &'static str, value: f64, reason: &str) -> Error {
    robustseg_attacks::Error::Setting { setting: setting.into(), value, reason: reason.into() }.into()
}
