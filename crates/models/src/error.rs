//! Errors of networks, their configurations and their files.

use std::path::PathBuf;

/// A fault of a network, its configuration or its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A checkpoint is missing or damaged, or belongs to another model.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The fault and its remedy.
        reason: String,
    },
    /// A checkpoint cannot be written. A file that was there before is unchanged.
    #[error("writing checkpoint {}: {source}; free some space or choose another folder, then continue from the checkpoint before it", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Pretrained weights cannot be obtained.
    #[error("pretrained weights {weights}: {reason}")]
    Pretrained {
        /// Their source, as given.
        weights: String,
        /// The fault, the places searched, and the remedy.
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

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
