//! How a command ended: the file of `run --outcome`.

use std::path::Path;

use anyhow::Context;
use robustseg_files::{create_folders, write_atomically};
use serde::{Deserialize, Serialize};

use super::event_log::wall_time;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The exit status. `None` while the command runs, and after it was killed.
    pub status: Option<u8>,
    /// The error, if there was one.
    pub error: Option<String>,
    /// Seconds since 1970 when this was written.
    pub wall_time: f64,
}

impl Outcome {
    /// The outcome at this moment.
    pub fn now(status: Option<u8>, error: Option<String>) -> Self {
        Self { status, error, wall_time: wall_time() }
    }

    /// Writes the file at `path`. Creates missing folders.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            create_folders(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_atomically(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }
}
