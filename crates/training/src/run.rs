//! The data of a training, its folder, and how it ended.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use robustseg_datasets::{Dataset, OnBadSample};
use robustseg_models::Origin;

use crate::identity::Identity;

/// The data of a training and the folder of its states.
pub struct Run<'a> {
    /// The training split.
    pub train: &'a Dataset,
    /// The split that decides which weights are best.
    pub validation: &'a Dataset,
    /// An existing folder for `last.safetensors`, `best.safetensors` and `resume.safetensors`.
    pub checkpoints: &'a Path,
    /// Everything that decides the weights: only a run of the same identity may continue from a saved state.
    pub identity: &'a Identity,
    /// What checkpoints say about their classes and their training; the trainer fills in the step.
    pub origin: &'a Origin,
    /// Once it is set, the training saves its state after the present step and ends.
    pub stop: &'a AtomicBool,
    /// The treatment of training samples that are missing or broken; in validation they always end the training.
    pub on_bad_sample: OnBadSample,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The stop flag was seen; the state is saved.
    Interrupted,
}
