//! The monitor in a running training: its readings and their consequences.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use robustseg_datasets::{AugmentationParameters, OnBadSample};
use robustseg_evaluation::{Target, evenly_spaced};
use robustseg_models::{Network, NormStatistics};
use robustseg_random::stream;

use crate::monitor::{Memory, MonitorConfig, Reading, Then, Verdict};
use crate::observer::{Event, Observer};
use crate::run::Run;
use crate::trainer::Trainer;
use crate::{Error, Result};

/// The checkpoint to roll back to.
const FILE: &str = "unflagged.safetensors";

/// The average of the weights at the same step.
const AVERAGE: &str = "unflagged_average.safetensors";

/// A monitor with its samples.
pub(crate) struct Monitor {
    config: MonitorConfig,
    images: Tensor,
    labels: Tensor,
}

impl Monitor {
    /// The monitor that the settings of `trainer` request, if any.
    pub(crate) fn new(trainer: &Trainer, run: &Run<'_>) -> Result<Option<Self>> {
        let Some(config) = trainer.config.monitor else { return Ok(None) };
        let network = trainer.network();
        let crop = trainer.config.augmentation.crop;
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
        let images = Tensor::from_vec(images, (count, 3, crop.height, crop.width), device)?;
        let labels = Tensor::from_vec(labels, (count, crop.height, crop.width), device)?;
        Ok(Some(Self { config, images, labels }))
    }
}

impl Trainer {
    /// Takes a reading if one is due and reports it. If enough consecutive readings show a sign and
    /// the settings say so, it ends the training.
    pub(crate) fn monitor(
        &mut self,
        monitor: &Monitor,
        run: &Run<'_>,
        epoch: u64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let step = self.steps_done();
        let Monitor { config, images, labels } = monitor;
        let due = config.is_due(self.config.step_cost(), step, self.total_steps());
        if !due || self.state.monitor.read == Some(step) || self.state.monitor.stopped {
            return Ok(());
        }
        let start = Instant::now();
        let target = Target::new(self.network(), NormStatistics::Running);
        let random = &mut stream(self.seed, "monitor", [step, 0, 0]);
        let classes = self.network().config().num_classes;
        let mut reading = Reading::take(config, &target, images, labels, classes, random)?;
        reading.training_linearity = self.method.linearity();
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
                    if let Some(average) = self.averaged() {
                        self.save(average, run, AVERAGE)?;
                    }
                }
                None
            }
            // Such a reading says nothing, so the memory stays unchanged.
            Verdict::AtChance => None,
        };
        let Memory { flagged, unflagged, .. } = self.state.monitor;
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
                    self.take_back(self.network(), &run.checkpoints.join(FILE))?;
                    if let Some(average) = self.averaged() {
                        self.take_back(average, &run.checkpoints.join(AVERAGE))?;
                    }
                    before
                }
                _ => step,
            };
            self.state.monitor.stopped = true;
            observer.event(&Event::TrainingStopped { step, epoch, sign, weights_of })?;
        }
        Ok(())
    }

    /// Gives `network` the weights and statistics of the checkpoint at `path`, on all ranks.
    fn take_back(&self, network: &Network, path: &Path) -> Result<()> {
        self.on_first(|| take_weights(network, path))?;
        self.share_weights(network)
    }
}

/// Loads the weights and statistics of the checkpoint at `path` into `network`.
fn take_weights(network: &Network, path: &Path) -> Result<()> {
    let saved = Network::load(path, network.device())?;
    for (name, parameter) in network.parameters() {
        let other = saved.parameters().get(name).ok_or_else(|| Error::Mismatch {
            what: format!("checkpoint {}", path.display()),
            expected: format!("parameter {name}"),
            actual: "another network".into(),
        })?;
        robustseg_ops::assign(&parameter.var, &other.var)?;
    }
    Ok(())
}
