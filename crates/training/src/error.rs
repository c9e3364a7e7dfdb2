//! The error of this crate.

use std::path::PathBuf;

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of its range.
    #[error("{field}: {reason}")]
    Setting {
        /// The field of [`TrainingConfig`](crate::TrainingConfig), for example `monitor.every`.
        field: &'static str,
        /// The value, its range, and a remedy.
        reason: String,
    },
    /// A setting of the training method is out of its range.
    #[error("method {method}: {source}")]
    Method {
        /// The method's name.
        method: &'static str,
        /// The setting and its range.
        source: robustseg_attacks::Error,
    },
    /// A batch, mask or dataset does not fit.
    #[error("{what}: expected {expected}, got {actual}")]
    Mismatch {
        /// What does not fit, for example a mask.
        what: String,
        /// The expected shape, type or range.
        expected: String,
        /// The actual shape, type or range.
        actual: String,
    },
    /// The loss, a gradient or an attack's objective is infinite or NaN. The step has changed
    /// nothing.
    #[error(
        "{quantity} is {value} at step {step} (learning rate {learning_rate:e}, samples {}); lower the learning rate, or \
         look at these samples",
        .samples.join(", ")
    )]
    NotFinite {
        /// The quantity, for example the loss.
        quantity: String,
        /// The value.
        value: f32,
        /// The step, from 0.
        step: u64,
        /// The backbone's learning rate at that step.
        learning_rate: f64,
        /// Ids of the samples in the batch.
        samples: Vec<String>,
    },
    /// A trainable parameter does not contribute to the loss.
    #[error("the loss has no gradient with respect to parameter {0}")]
    NoGradient(String),
    /// A resume file is missing, broken, or belongs to another run.
    #[error(
        "cannot resume from {path}: {reason}{}",
        .previous.as_ref().map_or(String::new(), |file| format!("; {file} next to it holds the previous state"))
    )]
    Resume {
        /// The file.
        path: PathBuf,
        /// The fault, and what to do.
        reason: String,
        /// The name of the file with the previous state, if there is one.
        previous: Option<String>,
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
    /// The observer could not store an event.
    #[error("keeping the events: {0}")]
    Observer(#[from] std::io::Error),
    /// An attack failed.
    #[error(transparent)]
    Attack(#[from] robustseg_attacks::Error),
    /// Reading data failed.
    #[error(transparent)]
    Data(#[from] robustseg_datasets::Error),
    /// Validation failed, or was interrupted.
    #[error(transparent)]
    Evaluation(Box<robustseg_evaluation::Error>),
    /// Counting labels failed.
    #[error(transparent)]
    Metric(#[from] robustseg_metrics::Error),
    /// The model or one of its checkpoints failed.
    #[error(transparent)]
    Model(#[from] robustseg_models::Error),
    /// Another process of this training failed, and says why.
    #[error("another process of this training failed")]
    Elsewhere,
    /// The processes of this training have lost each other.
    #[error(transparent)]
    Ranks(#[from] robustseg_ranks::Error),
    /// An operation on tensors failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<robustseg_evaluation::Error> for Error {
    fn from(error: robustseg_evaluation::Error) -> Self {
        Self::Evaluation(Box::new(error))
    }
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
