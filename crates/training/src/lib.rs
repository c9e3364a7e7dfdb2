//! Adversarial training of segmentation networks, and their evaluation under attack.
//!
//! A [`Trainer`] holds a network, an optimiser and a [`TrainingMethod`]. [`Trainer::step`] does one adversarial
//! training step on a batch; [`Trainer::run`] does all of them, validates, saves and resumes. [`evaluate`] measures a
//! network on clean and attacked images. Nothing here knows of specs, clocks on the wall or terminals: an
//! [`Observer`] is told what happens.
//!
//! Every draw (order, augmentation, dropout, which samples are attacked, random step sizes) is a function of
//! seed and step, so a run that was interrupted and resumed ends with the same weights, bit for bit.
//!
//! # Errors
//!
//! See [`Error`]. [`Error::NotFinite`] and [`Error::Interrupted`] are the ones a caller may want to tell apart.

mod config;
mod curve;
mod error;
mod evaluation;
mod exact;
mod example;
#[cfg(test)]
mod fixture;
mod identity;
mod journal;
mod methods;
mod monitor;
mod observer;
mod optimiser;
mod record;
mod resume;
mod run;
mod schedule;
mod sight;
mod step;
mod tally;
mod target;
mod trainer;
mod validation;
mod warning;
mod window;
mod worst_case;

pub use config::{AdversarialDraw, Statistics, TrainingConfig};
pub use curve::{
    ApgdCurve, CurveConfig, FgsmCurve, IteratedCurve, MiFgsmCurve, PgdCurve, SeaCurve, StartedCurve,
};
pub use error::{Error, Result};
pub use evaluation::{
    Evaluated, EvaluationBatch, EvaluationConfig, Weights, evaluate, evaluate_model, evaluate_with,
};
pub use example::{Example, ExampleAttack};
pub use identity::Identity;
pub use journal::Journal;
pub use methods::{
    Basic, DdcAt, FgsmCkpt, Free, GradAlign, MethodConfig, NFgsm, Penalty, PgdAt, PixelNewton, Practice,
    Replay, RsFgsm, SegPgdAt, TrainingMethod,
};
pub use monitor::{Mark, MonitorConfig, Reading, Sign, Then, Verdict};
pub use observer::{Event, Observer, Progress, Stage};
pub use optimiser::Optimiser;
pub use record::{CandidateScores, Curve, Evaluation, ImageRecord, Parameters, Passes, Point, Scope, Scores};
pub use run::{Outcome, Run};
pub use schedule::PolynomialDecay;
pub use step::{Seconds, StepRecord};
pub use target::Target;
pub use trainer::{Timing, Trainer};
pub use warning::{Warning, WarningKind};
pub use window::{Views, Window, Windowed};
