//! Failures of downloads.

use std::fmt::Display;

/// Why an attempt failed, and whether the next one may succeed.
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) transient: bool,
}

impl Failure {
    pub(crate) fn transient(reason: String) -> Self {
        Self { reason, transient: true }
    }

    pub(crate) fn lasting(reason: impl Display) -> Self {
        Self { reason: reason.to_string(), transient: false }
    }
}

/// The reason to refuse a file with the SHA-256 `found`.
pub(crate) fn wrong_hash(expected: &str, found: &str) -> String {
    format!("the file's sha256 is not the expected one: expected {expected}, found {found}")
}
