//! The events and progress of a training.

use std::io;

use serde::{Deserialize, Serialize};

use crate::monitor::{Reading, Sign};
use crate::step_record::{Seconds, StepRecord};

/// Receives events and progress. The unit type `()` ignores them.
pub trait Observer {
    /// Receives an event. An error, because the event cannot be stored, ends the training.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Returns when all events so far would survive a power cut. A state that refers to them is
    /// about to be saved.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Receives the progress of the present stage, for progress bars.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

impl Observer for () {
    fn event(&mut self, _event: &Event) -> io::Result<()> {
        Ok(())
    }
}

/// An event of a run, one JSON object with `kind`, `step` and `epoch`. The recipient adds the wall
/// clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Training begins or resumes.
    TrainingStarted {
        /// Steps done earlier.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// Steps of the whole training.
        total_steps: u64,
        /// Epochs of the whole training.
        epochs: u64,
        /// Number of trainable values in the network.
        parameters: usize,
    },
    /// One training step is done.
    Step {
        /// The step's epoch, from 0.
        epoch: u64,
        /// The record of the step. Its fields, including `step`, are next to `epoch`.
        #[serde(flatten)]
        record: StepRecord,
    },
    /// A step's loss, gradient or attack was not finite. The step has changed nothing and is
    /// skipped.
    StepSkipped {
        /// The step, from 0.
        step: u64,
        /// Its epoch, from 0.
        epoch: u64,
        /// The quantity, the samples and the learning rate.
        reason: String,
    },
    /// A step's loss, gradient or attack was not finite, which ends the training. The network
    /// before the step is in `failed.safetensors`, the batch in `failed_batch.safetensors`.
    TrainingFailed {
        /// The step, from 0.
        step: u64,
        /// Its epoch, from 0.
        epoch: u64,
        /// The quantity, the samples and the learning rate.
        reason: String,
    },
    /// A training sample is missing or broken, and another sample replaces it from now on. Reported
    /// once per sample, and again when a training is resumed.
    SampleSkipped {
        /// The step that needed the sample.
        step: u64,
        /// That step's epoch, from 0.
        epoch: u64,
        /// The sample's id.
        sample: String,
        /// The fault and the file.
        reason: String,
    },
    /// The network was validated on clean images, and under `validate_under` if that is set.
    Validation {
        /// Steps done so far.
        step: u64,
        /// Epochs done so far.
        epoch: u64,
        /// Mean IoU on the validation samples.
        miou: f64,
        /// Pixel accuracy on the validation samples.
        pixel_accuracy: f64,
        /// Mean IoU under the attack of `validate_under`, which then decides about the best.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attacked_miou: Option<f64>,
        /// Whether this is the best score so far, and the weights were saved as `best.safetensors`.
        best: bool,
        /// Duration in seconds.
        seconds: f64,
    },
    /// The best weights so far were scored again, because their score was measured on different
    /// validation samples than those now in use.
    BestScored {
        /// Steps done so far.
        step: u64,
        /// Epochs done so far.
        epoch: u64,
        /// The mean IoU of these weights on the validation samples.
        miou: f64,
        /// The number of validation samples.
        samples: usize,
    },
    /// The monitor of catastrophic overfitting took a reading.
    Monitor {
        /// Steps done so far.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// The reading. Its fields are next to `step`.
        #[serde(flatten)]
        reading: Reading,
        /// The sign of catastrophic overfitting in this reading, if any.
        sign: Option<Sign>,
        /// Readings with a sign since the last one without, including this one.
        #[serde(default)]
        flagged: usize,
        /// The number of such readings that counts as catastrophic overfitting.
        #[serde(default)]
        patience: usize,
        /// The sign, once there are enough such readings. Until then it may pass.
        overfitting: Option<Sign>,
        /// Duration in seconds.
        seconds: f64,
    },
    /// The monitor ended the training before its last step.
    TrainingStopped {
        /// Steps done.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
        /// The sign that ended it.
        sign: Sign,
        /// The number of steps behind the present weights. It is smaller than `step` after a
        /// rollback.
        weights_of: u64,
    },
    /// The patience ended the training before its last step.
    TrainingStoppedEarly {
        /// Steps done.
        step: u64,
        /// Epochs done.
        epoch: u64,
        /// Validations since the best one.
        validations: usize,
        /// The best mean IoU of all validations.
        best_miou: f64,
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
        /// Seconds of all steps, including those before a resumption.
        seconds: Seconds,
    },
    /// The stop flag was set, and the state is saved.
    TrainingInterrupted {
        /// Steps done so far.
        step: u64,
        /// The epoch of the next step, from 0.
        epoch: u64,
    },
    /// An event that only another version of robustseg knows. It is read and never written.
    #[serde(other)]
    Unknown,
}

/// The progress of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// Steps (in training) or images (otherwise) done.
    pub done: u64,
    /// Steps or images in total.
    pub total: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Training; progress counts steps.
    Training,
    /// Validation during training; progress counts images.
    Validation,
}
