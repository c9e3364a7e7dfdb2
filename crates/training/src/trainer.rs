//! A network in training.

use std::collections::VecDeque;
use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use robustseg_datasets::Batch;
use robustseg_models::{Branch, PspNet};
use robustseg_ops::Staging;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Optimiser, PolynomialDecay, Result, Seconds, StepRecord, TrainingConfig, TrainingMethod, monitor,
    step,
};

/// A network in training: its optimiser, its method, and how far it is.
pub struct Trainer {
    network: PspNet,
    config: TrainingConfig,
    seed: u64,
    method: Box<dyn TrainingMethod + Send>,
    optimiser: Optimiser,
    schedule: PolynomialDecay,
    staging: Staging,
    /// Batches that are under way to the device, the first in front.
    staged: VecDeque<Arc<Batch>>,
    pub(crate) state: State,
}

/// What a training knows beside weights and velocities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: u64,
    /// The number of steps done at the last validation.
    pub(crate) validated: Option<u64>,
    /// The best mean IoU of all validations.
    pub(crate) best_miou: Option<f64>,
    /// The validation samples that it was measured on.
    pub(crate) best_samples: usize,
    /// What the monitor remembers.
    #[serde(default)]
    pub(crate) monitor: monitor::State,
    /// Steps that were left out because a number was not finite.
    pub(crate) left_out: u64,
    /// Where the time went.
    pub(crate) timing: Timing,
}

/// Totals over all steps of a training, those before a resumption among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Steps done.
    pub steps: u64,
    /// Samples trained on.
    pub images: u64,
    /// Samples that were attacked.
    pub attacked: u64,
    /// Seconds of the steps, by part.
    pub seconds: Seconds,
    /// Seconds of all validations.
    pub validation_seconds: f64,
}

/// What a network with `branches` is, for a message.
fn heads(branches: &[Branch]) -> String {
    let branch = |Branch { name, channels }: &Branch| format!("{name} ({channels} channels)");
    match branches {
        [] => "a network without branches".into(),
        some => {
            let branches = some.iter().map(branch).collect::<Vec<_>>().join(", ");
            format!("a network with the branches {branches}")
        }
    }
}

impl Trainer {
    /// A training of `network` over `total_steps`, at its start.
    ///
    /// # Errors
    /// [`Error::Setting`] if `config` is out of range, [`Error::Mismatch`] if the network does not have the
    /// branches that the method needs, or has others.
    pub fn new(network: PspNet, config: &TrainingConfig, seed: u64, total_steps: u64) -> Result<Self> {
        config.validate()?;
        let branches = config.method.branches(network.config().num_classes);
        if network.config().branches != branches {
            return Err(Error::Mismatch {
                what: format!("network for {}", config.method.name()),
                expected: heads(&branches),
                actual: heads(&network.config().branches),
            });
        }
        Ok(Self {
            optimiser: Optimiser::new(&network, config)?,
            staging: Staging::new(network.device())?,
            staged: VecDeque::new(),
            network,
            config: config.clone(),
            seed,
            method: config.method.strategy(),
            schedule: PolynomialDecay { base: config.learning_rate, power: config.power, total: total_steps },
            state: State::default(),
        })
    }

    /// The network as it is now.
    pub fn network(&self) -> &PspNet {
        &self.network
    }

    /// The network, when training is over.
    pub fn into_network(self) -> PspNet {
        self.network
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u64 {
        self.state.step
    }

    /// Steps in all.
    pub fn total_steps(&self) -> u64 {
        self.schedule.total
    }

    /// The backbone's learning rate at the next step.
    pub fn learning_rate(&self) -> f64 {
        self.schedule.rate(self.state.step)
    }

    /// The best mean IoU of all validations so far.
    pub fn best_miou(&self) -> Option<f64> {
        self.state.best_miou
    }

    /// Where the time went so far.
    pub fn timing(&self) -> Timing {
        self.state.timing
    }

    /// Begins to bring `batch`, on which a later step will be made, to the device: on a GPU it then need not be waited for.
    /// Batches are to be trained on in the order in which they were prepared. Whether it is called or not changes nothing
    /// else.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the arrays do not fit the batch.
    pub fn prepare(&mut self, batch: &Arc<Batch>) -> Result<()> {
        let images = step::images_shape(batch)?;
        self.staging.begin(batch, |batch| (&batch.images, &batch.labels), images)?;
        self.staged.push_back(batch.clone());
        Ok(())
    }

    /// Images and labels of `batch` on the device, if it was prepared.
    pub(crate) fn arrived(&mut self, batch: &Batch) -> Result<Option<(Tensor, Tensor)>> {
        let Some(place) = self.staged.iter().position(|staged| std::ptr::eq(&raw const **staged, batch))
        else {
            return Ok(None);
        };
        // Those in front of it were prepared for nothing.
        for _ in 0..place {
            self.staging.arrive()?;
        }
        self.staged.drain(..=place);
        Ok(self.staging.arrive()?)
    }

    pub(crate) fn config(&self) -> &TrainingConfig {
        &self.config
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn method(&self) -> &dyn TrainingMethod {
        self.method.as_ref()
    }

    pub(crate) fn method_mut(&mut self) -> &mut dyn TrainingMethod {
        self.method.as_mut()
    }

    pub(crate) fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    /// Moves the weights. Gradients of several processes would be averaged here.
    pub(crate) fn update(
        &mut self,
        gradients: &GradStore,
        learning_rate: f64,
    ) -> Result<Option<(String, f32)>> {
        self.optimiser.step(&self.network, gradients, learning_rate)
    }

    /// Counts a step that was done.
    pub(crate) fn count(&mut self, record: &StepRecord) {
        self.state.step += 1;
        let timing = &mut self.state.timing;
        timing.steps += 1;
        timing.images += record.images as u64;
        timing.attacked += record.attacked as u64;
        timing.seconds += record.seconds;
    }
}
