//! A monitor of catastrophic overfitting: single-step adversarial training that suddenly defends against its own attack
//! and no other.
//!
//! Now and then, on a few fixed training samples, it reads what the literature looks at: scores under FGSM and BIM, the
//! loss along FGSM's step, the cosine of gradients nearby, Fast Newton's epsilon ([`Reading`]), and decides whether they
//! show the one or the other [`Sign`]. As many in a row as `patience` says are catastrophic overfitting; fewer may pass. Its draws are functions of seed and step and its memory is part of the saved
//! state, so a resumed run reads what an uninterrupted one does. Training samples serve: the sudden drop shows on them as
//! well (Wong et al. 2020), and nothing of the validation split is used up.

mod config;
mod reading;
#[cfg(test)]
mod tests;

use std::time::Instant;

use candle_core::Tensor;
use robustseg_datasets::{AugmentationParameters, OnBadSample};
use robustseg_models::PspNet;
use robustseg_random::stream;
use serde::{Deserialize, Serialize};

use crate::evaluation::evenly_spaced;
use crate::{Error, Event, Observer, Result, Run, Statistics, Target, Trainer};

pub use config::{MonitorConfig, Sign, Then, Verdict};
pub use reading::{Mark, Reading};

/// The checkpoint to roll back to, in the checkpoints' folder.
const FILE: &str = "unflagged.safetensors";

/// What the monitor remembers between readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done at the last reading.
    read: Option<u64>,
    /// Pixel accuracy under BIM at the last reading without a sign.
    robust: Option<f64>,
    /// Steps done at that reading.
    pub(crate) unflagged: Option<u64>,
    /// Readings with a sign since then.
    #[serde(default)]
    flagged: usize,
    /// Whether a reading ended the training.
    pub(crate) stopped: bool,
}

/// A monitor with its samples at hand.
pub(crate) struct Monitor {
    config: MonitorConfig,
    images: Tensor,
    labels: Tensor,
}

impl Monitor {
    /// The monitor that the configuration of `trainer` asks for, if it does.
    pub(crate) fn new(trainer: &Trainer, run: &Run<'_>) -> Result<Option<Self>> {
        let Some(config) = trainer.config().monitor else { return Ok(None) };
        let network = trainer.network();
        let crop = trainer.config().augmentation.crop;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let indices = evenly_spaced(run.train.len(), Some(config.samples));
        for &index in &indices {
            let load = |index| {
                let parameters = AugmentationParameters::identity(crop);
                run.train.load_crop(index, &parameters, network.config().mean)
            };
            let mut sample = load(index);
            if run.on_bad_sample == OnBadSample::Skip {
                let mut others = index + 1..run.train.len();
                while let (Err(_), Some(other)) = (&sample, others.next()) {
                    sample = load(other);
                }
            }
            let sample = sample?;
            images.extend(sample.image);
            labels.extend(sample.label);
        }
        let (count, device) = (indices.len(), network.device());
        let images = Tensor::from_vec(images, (count, 3, crop, crop), device)?;
        let labels = Tensor::from_vec(labels, (count, crop, crop), device)?;
        Ok(Some(Self { config, images, labels }))
    }
}

impl Trainer {
    /// Takes the reading that is due, tells it, and ends the training if it shows a sign, as enough before it did, and the
    /// configuration says so.
    pub(crate) fn monitor(
        &mut self,
        monitor: &Monitor,
        run: &Run<'_>,
        epoch: u64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let step = self.steps_done();
        let Monitor { config, images, labels } = monitor;
        let due = config.is_due(self.config(), step, self.total_steps());
        if !due || self.state.monitor.read == Some(step) || self.state.monitor.stopped {
            return Ok(());
        }
        let start = Instant::now();
        let target = Target::new(self.network(), Statistics::Running);
        let random = &mut stream(self.seed(), "monitor", [step, 0, 0]);
        let classes = self.network().config().num_classes;
        let reading = Reading::take(config, &target, images, labels, classes, random)?;
        let robust = reading.bim.pixel_accuracy;
        let state = &mut self.state.monitor;
        state.read = Some(step);
        let sign = match config.judge(&reading, state.robust) {
            Verdict::Sign(sign) => {
                state.flagged += 1;
                Some(sign)
            }
            Verdict::NoSign => {
                (state.robust, state.unflagged, state.flagged) = (Some(robust), Some(step), 0);
                if config.then == Then::RollBack {
                    self.save_network(run, FILE)?;
                }
                None
            }
            // It tells nothing: what was remembered stays.
            Verdict::AtChance => None,
        };
        let State { flagged, unflagged, .. } = self.state.monitor;
        let (patience, enough) = (config.patience, flagged >= config.patience);
        let overfitting = sign.filter(|_| enough);
        let seconds = start.elapsed().as_secs_f64();
        observer.event(&Event::Monitor {
            step,
            epoch,
            reading,
            sign,
            flagged,
            patience,
            overfitting,
            seconds,
        })?;
        if let (Some(sign), Then::Stop | Then::RollBack) = (overfitting, config.then) {
            let weights_of = match (config.then, unflagged) {
                (Then::RollBack, Some(before)) => {
                    self.take_weights(&run.checkpoints.join(FILE))?;
                    before
                }
                _ => step,
            };
            self.state.monitor.stopped = true;
            observer.event(&Event::TrainingStopped { step, epoch, sign, weights_of })?;
        }
        Ok(())
    }

    /// Takes the weights and statistics of the checkpoint at `path`.
    fn take_weights(&self, path: &std::path::Path) -> Result<()> {
        let saved = PspNet::load(path, self.network().device())?;
        for (name, parameter) in self.network().parameters() {
            let other = saved.parameters().get(name).ok_or_else(|| Error::Mismatch {
                what: format!("checkpoint {}", path.display()),
                expected: format!("parameter {name}"),
                actual: "another network".into(),
            })?;
            parameter.var.set(&other.var)?;
        }
        Ok(())
    }
}
