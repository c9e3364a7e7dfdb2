//! Warnings that are given once.

use std::sync::Once;

/// Warns the first time and writes a debug message afterwards.
pub(super) fn warn_once(once: &Once, text: std::fmt::Arguments<'_>) {
    let mut first = false;
    once.call_once(|| first = true);
    if first {
        tracing::warn!("{text}");
    } else {
        tracing::debug!("{text}");
    }
}
