//! The input of a training, and its outcome.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use robustseg_datasets::{Dataset, OnBadSample};
use robustseg_models::Origin;

use crate::identity::Identity;

/// The data of a training and the folder for its states.
pub struct Run<'a> {
    /// The training split.
    pub train: &'a Dataset,
    /// The split that decides which weights are the best.
    pub validation: &'a Dataset,
    /// An existing folder for `last.safetensors`, `best.safetensors`, `average.safetensors` (if
    /// weights are averaged) and `resume.safetensors`.
    pub checkpoints: &'a Path,
    /// Everything that determines the weights. Only a run with the same identity may resume from a
    /// saved state.
    pub identity: &'a Identity,
    /// What checkpoints record about their classes and their training. The trainer fills in the
    /// step.
    pub origin: &'a Origin,
    /// When set, the training saves its state after the present step and ends.
    pub stop: &'a AtomicBool,
    /// How to treat missing or broken training samples. In validation they always end the training.
    pub on_bad_sample: OnBadSample,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The stop flag was set, and the state is saved.
    Interrupted,
}
