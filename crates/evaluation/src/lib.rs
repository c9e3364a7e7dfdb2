//! Robustness curves of segmentation models: clean and attacked scores on a dataset, warnings,
//! examples and records.
//!
//! [`evaluate`] takes a network and a dataset. [`evaluate_model`] takes any model that can be
//! attacked and any batches, [`evaluate_presented`] such a model under a [`Protocol`]. An interrupted evaluation resumes from its [`Journal`] with
//! bit-identical results. This crate does not depend on the trainer.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use robustseg_attacks::{CurveConfig, Fgsm, channels_first};
//! use robustseg_evaluation::{EvaluationBatch, evaluate_model};
//!
//! // Red, green or blue: the logits are the image.
//! let model = channels_first(|image: &Tensor| image.affine(9.0, 0.0));
//! let image = Tensor::rand(0_f32, 1.0, (1, 3, 24, 32), &Device::Cpu)?;
//! let label = image.argmax(1)?.to_dtype(DType::U8)?;
//! let batch = EvaluationBatch { ids: vec!["noise".into()], image, label };
//! let curves = [CurveConfig::new(Fgsm {}, vec![0.0, 0.1])];
//! let evaluation = evaluate_model(&model, 3, [batch], &curves, 0, 0)?.evaluation;
//! assert_eq!(evaluation.clean.miou, 1.0);
//! assert!(evaluation.curves[0].points[1].scores.miou < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! See [`Error`]. Callers may want to handle [`Error::Interrupted`] separately.

mod advance;
mod batch;
mod batches;
mod config;
mod error;
mod evaluate;
mod exact;
mod example;
#[cfg(test)]
mod fixture;
mod grid;
mod journal;
mod metrics;
mod observation;
mod presented;
mod protocol;
mod record;
mod results;
mod scores;
mod seen;
mod smallest;
mod source;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod warnings;
mod window;
mod worst_case;

/// The candle whose tensors and devices this crate takes and gives.
pub use candle_core as candle;

pub use advance::{Advance, OnProgress};
pub use batch::EvaluationBatch;
pub use config::{EvaluationConfig, Weights, evenly_spaced};
pub use error::{Error, Result};
pub use evaluate::{
    clean_scores, clean_scores_among, evaluate, evaluate_among, evaluate_model, evaluate_presented,
    evaluate_with,
};
pub use example::{Example, ExampleAttack};
pub use journal::Journal;
pub use metrics::{METRICS, Metric, MetricValues};
pub use presented::Presented;
pub use protocol::{AttackedPart, MultiScale, Protocol, Sea, Semseg};
pub use record::{
    CandidateScores, Curve, Evaluation, ImageRecord, Passes, Point, Scope, Scores, Smallest, SourceRecord,
    Warning, WarningKind,
};
pub use results::Evaluated;
pub use source::{Source, Subject};
pub use target::Target;
pub use window::{Views, Window};
