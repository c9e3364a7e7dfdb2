//! The events and progress of a training.

use std::io;

use serde::Serialize;

use crate::monitor::{Reading, Sign};
use crate::step_record::{Seconds, StepRecord};

/// Receives events and progress. The unit type `()` ignores them.
pub trait Observer {
    /// Something worth keeping happened. An error, because it cannot be kept, ends the training.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// All events so far must outlive a power cut when this returns: a state that counts on them is about to be saved.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// So much of the present stage is done; for progress bars.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

impl Observer for () {
    fn event(&mut self, _event: &Event) -> io::Result<()> {
        Ok(())
    }
}

/// An event of a run, one JSON object with `kind`, `step` and `epoch` (wall clock is the recipient's to add).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Training begins, anew or again.
    TrainingStarted {
        /// Steps done before.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// Steps in the whole training.
        total_steps: u64,
        /// Epochs in the whole training.
        epochs: u64,
        /// Trainable numbers in the network.
        parameters: usize,
    },
    /// One training step was done.
    Step {
        /// The step's epoch, from 0.
        epoch: u64,
        /// What the step did; its fields, `step` among them, stand beside `epoch`.
        #[serde(flatten)]
        record: StepRecord,
    },
    /// A step's loss, gradient or attack was not finite. It has changed nothing, and is left out.
    StepSkipped {
        /// The step, from 0.
        step: u64,
        /// Its epoch, from 0.
        epoch: u64,
        /// Which number, its samples and learning rate.
        reason: String,
    },
    /// A step's loss, gradient or attack was not finite, and ends the training. The network before the step is in
    /// `failed.safetensors`, the batch in `failed_batch.safetensors`.
    TrainingFailed {
        /// The step, from 0.
        step: u64,
        /// Its epoch, from 0.
        epoch: u64,
        /// Which number, its samples and learning rate.
        reason: String,
    },
    /// A training sample is missing or broken, and from now on another takes its place; once a sample, and again when a
    /// training is resumed.
    SampleSkipped {
        /// The step that met it.
        step: u64,
        /// That step's epoch, from 0.
        epoch: u64,
        /// The sample's id.
        sample: String,
        /// What is wrong with it, and in which file.
        reason: String,
    },
    /// The network was validated on clean images.
    Validation {
        /// Steps done so far.
        step: u64,
        /// Epochs done so far.
        epoch: u64,
        /// Mean IoU on the validation samples.
        miou: f64,
        /// Pixel accuracy on the validation samples.
        pixel_accuracy: f64,
        /// Whether it is the best so far, and so became `best.safetensors`.
        best: bool,
        /// Seconds that it took.
        seconds: f64,
    },
    /// The best weights so far were scored again, because their score was of other validation samples than those that are
    /// validated on now.
    BestScored {
        /// Steps done so far.
        step: u64,
        /// Epochs done so far.
        epoch: u64,
        /// Their mean IoU on the validation samples.
        miou: f64,
        /// How many samples these are.
        samples: usize,
    },
    /// The monitor of catastrophic overfitting took a reading.
    Monitor {
        /// Steps done so far.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// What it read; its fields stand beside `step`.
        #[serde(flatten)]
        reading: Reading,
        /// The sign of catastrophic overfitting that it sees in that, if any.
        sign: Option<Sign>,
        /// Readings with a sign since the last one without, this one among them.
        flagged: usize,
        /// How many of them are catastrophic overfitting.
        patience: usize,
        /// The sign, if there were so many; until then it may pass.
        overfitting: Option<Sign>,
        /// Seconds that it took.
        seconds: f64,
    },
    /// The monitor ended the training before its last step.
    TrainingStopped {
        /// Steps done.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// The sign that it saw.
        sign: Sign,
        /// Steps done when the weights were as they are now: fewer after rolling back.
        weights_of: u64,
    },
    /// The state was saved.
    Checkpoint {
        /// Steps done so far.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
    },
    /// All steps are done.
    TrainingFinished {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// Seconds of all steps, those before a resumption among them.
        seconds: Seconds,
    },
    /// The stop flag was seen, and the state saved.
    TrainingInterrupted {
        /// Steps done so far.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
    },
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Steps (training) or images (otherwise) that are done.
    pub done: u64,
    /// Steps or images in all.
    pub total: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Training; progress counts steps.
    Training,
    /// Validation during training; progress counts images.
    Validation,
    /// Evaluation of a network; progress counts images.
    Evaluation,
}
