//! A whole training: epochs, validations, saved states.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use robustseg_datasets::{Loader, Skipped};
use robustseg_evaluation::Error as EvaluationError;
use robustseg_models::{Network, Origin};

use crate::monitor::Then;
use crate::monitoring::Monitor;
use crate::observer::{Event, Observer, Progress, Stage};
use crate::run::{Outcome, Run};
use crate::staging::Prepared;
use crate::trainer::Trainer;
use crate::{Error, Result};

/// The loader's batch for a step.
struct Next {
    /// `None` after the last batch.
    batch: Option<Result<Prepared>>,
    /// The samples that were replaced by others.
    skipped: Vec<Skipped>,
}

impl Trainer {
    /// Trains from the present step to the end, until the stop flag is set, or until the monitor
    /// ends it. Validates after every `validate_every` epochs and at the end. `best.safetensors`
    /// holds the weights with the best mean IoU so far, under the attack of
    /// `validate_under` if there is one. `patience` may end it earlier.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if training diverges. The saved states are then those from before.
    /// `failed.safetensors` and `failed_batch.safetensors` hold the network and the batch of the
    /// failure.
    pub fn run(&mut self, run: &Run<'_>, observer: &mut dyn Observer) -> Result<Outcome> {
        let per_epoch = self.config.steps_per_epoch(run.train.len())?;
        let epochs = self.config.epochs as u64;
        let total = self.total_steps();
        if total != self.config.total_steps(run.train.len())? {
            return Err(Error::Mismatch {
                what: "steps of the training".into(),
                expected: format!("{epochs} epochs of {per_epoch} steps"),
                actual: format!("{total} steps"),
            });
        }
        if self.criterion.needs_class_pixels() {
            self.set_class_pixels(&run.train.class_pixels(run.on_bad_sample)?);
        }
        let epoch_of = |step: u64| step / per_epoch;
        let start = self.steps_done();
        observer.event(&Event::TrainingStarted {
            step: start,
            epoch: epoch_of(start),
            total_steps: total,
            epochs,
            parameters: self.network().parameter_count(),
        })?;
        // A state that was just restored is saved already.
        let mut saved = (start > 0).then(|| self.state.clone());
        let fill = self.network().config().mean;
        let mut loader = self.config.loader(run.train, self.seed, fill, start..total, run.on_bad_sample)?;
        let mut ahead: Option<Next> = None;
        let monitor = Monitor::new(self, run)?;
        loop {
            let step = self.steps_done();
            let epoch = epoch_of(step);
            observer.progress(Progress { stage: Stage::Training, done: step, total });
            if let Some(monitor) = &monitor {
                self.monitor(monitor, run, epoch, observer)?;
            }
            if self.validation_is_due(per_epoch) {
                match self.validate(run, epoch, observer) {
                    Err(Error::Evaluation(error)) if matches!(*error, EvaluationError::Interrupted) => {}
                    validated => validated?,
                }
            }
            let finished = self.is_over() && !self.validation_is_due(per_epoch);
            let stopped = !finished && self.ranks.any(run.stop.load(Ordering::Relaxed))?;
            let every = self.config.checkpoint_every;
            let wanted = finished || stopped || (every > 0 && step > start && step.is_multiple_of(every));
            if wanted && saved.as_ref() != Some(&self.state) {
                observer.sync()?;
                self.save_network(run, "last.safetensors")?;
                if let Some(average) = self.averaged() {
                    self.save(average, run, "average.safetensors")?;
                }
                self.on_first(|| self.save_state(run.checkpoints, run.identity))?;
                saved = Some(self.state.clone());
                observer.event(&Event::Checkpoint { step, epoch })?;
            }
            if stopped {
                observer.event(&Event::TrainingInterrupted { step, epoch })?;
                return Ok(Outcome::Interrupted);
            }
            if finished {
                let seconds = self.timing().seconds;
                observer.event(&Event::TrainingFinished { step, epoch, seconds })?;
                return Ok(Outcome::Finished);
            }
            let waiting = Instant::now();
            let Next { batch, skipped } = ahead.take().unwrap_or_else(|| self.next(&mut loader));
            let batch = batch.ok_or_else(|| Error::Mismatch {
                what: "batches of the loader".into(),
                expected: format!("{total}"),
                actual: format!("{step}"),
            })??;
            if self.network().device().is_cuda() {
                // The next batch is uploaded during this step. Its faults are reported at its own
                // step.
                ahead = Some(self.next(&mut loader));
            }
            let waited = waiting.elapsed().as_secs_f64();
            for Skipped { id, reason } in skipped {
                observer.event(&Event::SampleSkipped { step, epoch, sample: id, reason })?;
            }
            let mut record = match self.step_prepared(&batch) {
                Err(error @ Error::NotFinite { .. }) => {
                    self.leave_out(run, batch.batch(), error, observer)?;
                    continue;
                }
                done => done?,
            };
            record.seconds.data += waited;
            self.state.timing.seconds.data += waited;
            observer.event(&Event::Step { epoch, record })?;
        }
    }

    /// Prepares the loader's next batch.
    fn next(&mut self, loader: &mut Loader) -> Next {
        let batch = loader.next().map(|batch| self.prepare(Arc::new(batch?)));
        Next { batch, skipped: loader.take_skipped() }
    }

    /// Writes the present network to the checkpoint `name` of `run`.
    pub(crate) fn save_network(&self, run: &Run<'_>, name: &str) -> Result<()> {
        self.save(self.network(), run, name)
    }

    /// Writes `network` to the checkpoint `name` of `run`.
    pub(crate) fn save(&self, network: &Network, run: &Run<'_>, name: &str) -> Result<()> {
        let path = run.checkpoints.join(name);
        self.on_first(|| Ok(network.save_with(&self.origin(run.origin), &path)?))
    }

    /// `origin` with the number of steps behind the present weights.
    pub fn origin(&self, origin: &Origin) -> Origin {
        let mut origin = origin.clone();
        if let Some(training) = &mut origin.training {
            training.step = self.weights_step();
        }
        origin
    }

    /// The number of steps behind the present weights. It is smaller than the steps done after the
    /// monitor has restored weights.
    fn weights_step(&self) -> u64 {
        let state = &self.state.monitor;
        let rolls_back = self.config.monitor.as_ref().is_some_and(|monitor| monitor.then == Then::RollBack);
        state.unflagged.filter(|_| rolls_back && state.stopped).unwrap_or(self.state.step)
    }

    /// Whether there are no more steps to do.
    pub(crate) fn is_over(&self) -> bool {
        self.steps_done() == self.total_steps() || self.state.monitor.stopped || self.state.out_of_patience
    }
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod not_finite;
#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;
