//! What can go wrong with a model, its configuration and its files.

use std::path::PathBuf;

/// A fault of a model, its configuration or its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A checkpoint is missing, broken, or of another model.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A checkpoint cannot be written; a former one is as it was.
    #[error("writing checkpoint {}: {source}; free space or take another place, then go on from the former one", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Pretrained weights are not to be had.
    #[error("pretrained weights {weights}: {reason}")]
    Pretrained {
        /// Their source as given.
        weights: String,
        /// What went wrong, where they were looked for, and what to do.
        reason: String,
    },
    /// A setting of a network is out of its range.
    #[error("model: {field} {reason}")]
    Setting {
        /// The setting: a field of [`NetworkConfig`](crate::NetworkConfig) or of its architecture.
        field: &'static str,
        /// The range and the value. The text continues a sentence that begins with the field.
        reason: String,
    },
    /// An operation on tensors failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of anything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
