//! Adversarial training of segmentation networks.
//!
//! A [`Trainer`] holds a network, an optimiser and a [`TrainingMethod`]. [`Trainer::step`] performs
//! one adversarial training step on a batch. [`Trainer::run`] performs all steps, validates, saves
//! and resumes. The clock, the terminal and specs are outside this crate: an [`Observer`] receives
//! the [`Event`]s.
//!
//! Every draw (order, augmentation, dropout, attacked samples, random step sizes) is a function of
//! seed and step. A run that was interrupted and resumed therefore ends with the same weights, bit
//! for bit.
//!
//! A method is one file in `src/methods` and one line in its registry. [`Method`] and
//! [`TrainingMethod`] define what a method can do: craft examples, own its loss, read the
//! gradients, keep state.
//!
//! # Errors
//!
//! See [`Error`]. Callers may want to handle [`Error::NotFinite`] and an interrupted evaluation
//! separately.

mod average;
mod choice;
mod config;
mod draw;
mod error;
mod failure;
#[cfg(test)]
mod fixture;
mod identity;
mod learning_rate;
mod losses;
mod method;
mod method_config;
mod methods;
mod monitor;
mod monitoring;
mod observer;
mod optimiser;
mod optimisers;
mod pass;
mod practice;
mod ranges;
mod ranks;
mod resume;
mod run;
mod run_loop;
mod samples;
mod schedules;
mod staging;
mod step;
mod step_record;
mod trainer;
mod validation;

/// The candle whose tensors and devices this crate takes and gives.
pub use candle_core as candle;

pub use average::AverageConfig;
pub use config::TrainingConfig;
pub use error::{Error, Result};
pub use identity::Identity;
pub use learning_rate::LearningRate;
pub use losses::{ClassWeights, CrossEntropy, Dice, LossConfig, Lovasz, Ohem};
pub use method::{Forward, Loss, Method, TrainingMethod};
pub use method_config::MethodConfig;
pub use methods::{
    Basic, DdcAt, FgsmCkpt, Free, GradAlign, NFgsm, NoisyNewton, PgdAt, PixelNewton, PixelWeights, RsFgsm,
    SegPgdAt, SignSteps, Sora, StepGain,
};
pub use monitor::{Mark, MonitorConfig, Reading, Sign, Then, Verdict};
pub use observer::{Event, Observer, Progress, Stage};
pub use optimiser::Optimiser;
pub use optimisers::{AdamW, OptimiserConfig, Sgd};
pub use practice::{AdversarialDraw, Practice};
pub use run::{Outcome, Run};
pub use samples::{Part, Samples};
pub use schedules::{Constant, Cosine, Polynomial, ScheduleConfig, Step};
pub use staging::Prepared;
pub use step_record::{Seconds, StepRecord};
pub use trainer::{Timing, Trainer};
