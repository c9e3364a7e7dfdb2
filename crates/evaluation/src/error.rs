//! The error of this crate.

use std::path::PathBuf;

/// An error of an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of its range.
    #[error("{field}: {reason}")]
    Setting {
        /// The field of [`EvaluationConfig`](crate::EvaluationConfig), for example `window.stride`.
        field: &'static str,
        /// The value, its range, and a remedy.
        reason: String,
    },
    /// A curve has a setting out of its range.
    #[error("curve {index} ({attack}): {source}")]
    Curve {
        /// The index of the curve, from 0.
        index: usize,
        /// The curve's attack.
        attack: &'static str,
        /// The setting and its range.
        source: Box<robustseg_attacks::Error>,
    },
    /// A batch or dataset does not fit the model.
    #[error("{what}: expected {expected}, got {actual}")]
    Mismatch {
        /// What does not fit, for example the images of a batch.
        what: String,
        /// The expected shape, type or range.
        expected: String,
        /// The actual shape, type or range.
        actual: String,
    },
    /// A file of an unfinished evaluation is damaged.
    #[error("cannot resume from {path}: {reason}; delete its folder to evaluate from the first image")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A description of the damage.
        reason: String,
    },
    /// A folder holds the journal of another evaluation.
    #[error(
        "{path} is of an evaluation with other {what}; delete its folder to evaluate from the first image"
    )]
    OtherEvaluation {
        /// The file.
        path: PathBuf,
        /// The difference between the evaluations.
        what: String,
    },
    /// Reading or writing a file failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// The operation, for example `writing`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The stop flag was set.
    #[error("interrupted")]
    Interrupted,
    /// An attack failed.
    #[error(transparent)]
    Attack(#[from] robustseg_attacks::Error),
    /// Reading data failed.
    #[error(transparent)]
    Data(#[from] robustseg_datasets::Error),
    /// Counting labels failed.
    #[error(transparent)]
    Metric(#[from] robustseg_metrics::Error),
    /// The model or its checkpoint failed.
    #[error(transparent)]
    Model(#[from] robustseg_models::Error),
    /// The processes of this evaluation have lost each other.
    #[error(transparent)]
    Ranks(#[from] robustseg_ranks::Error),
    /// An operation on tensors failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
