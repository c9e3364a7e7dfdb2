//! What can go wrong in training.

use std::path::PathBuf;

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is out of its range.
    #[error("{field}: {reason}")]
    Setting {
        /// The field of [`TrainingConfig`](crate::TrainingConfig), for example `monitor.every`.
        field: &'static str,
        /// The value, the range, and what to do.
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
    /// A batch, mask or dataset does not fit what it is used with.
    #[error("{what}: expected {expected}, got {actual}")]
    Mismatch {
        /// What does not fit.
        what: String,
        /// What is needed.
        expected: String,
        /// What was given.
        actual: String,
    },
    /// The loss, a gradient or an attack's objective became infinite or not a number; the step has changed nothing.
    #[error(
        "{quantity} is {value} at step {step} (learning rate {learning_rate:e}, samples {}); lower the learning rate, or \
         look at these samples",
        .samples.join(", ")
    )]
    NotFinite {
        /// Which number.
        quantity: String,
        /// The number.
        value: f32,
        /// The step, from 0.
        step: u64,
        /// The backbone's learning rate at that step.
        learning_rate: f64,
        /// Ids of the batch's samples that it was computed from.
        samples: Vec<String>,
    },
    /// A trainable parameter took no part in the loss.
    #[error("the loss has no gradient with respect to parameter {0}")]
    NoGradient(String),
    /// A resume file is missing, broken, or belongs to another run.
    #[error("cannot resume from {path}: {reason}")]
    Resume {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Reading or writing a file failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried, for example `writing`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The observer could not take an event.
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
    /// The model or a checkpoint of it failed.
    #[error(transparent)]
    Model(#[from] robustseg_models::Error),
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
