//! The memory of the monitor.

use serde::{Deserialize, Serialize};

/// The monitor's memory between readings, part of a saved state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// The step of the last reading.
    pub(crate) read: Option<u64>,
    /// Pixel accuracy under BIM at the last reading without a sign.
    pub(crate) robust: Option<f64>,
    /// The step of that reading.
    pub(crate) unflagged: Option<u64>,
    /// Readings with a sign since then.
    #[serde(default)]
    pub(crate) flagged: usize,
    /// Whether a reading has ended the training.
    pub(crate) stopped: bool,
}
