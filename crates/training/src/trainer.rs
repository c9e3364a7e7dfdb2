//! A network in training.

use std::sync::Arc;

use robustseg_datasets::Batch;
use robustseg_models::{Branch, Network};
use robustseg_ops::AllReduce;
use robustseg_ranks::{Ranks, Solo};
use serde::{Deserialize, Serialize};

use crate::average::Average;
use crate::config::TrainingConfig;
use crate::learning_rate::LearningRate;
use crate::losses::Criterion;
use crate::method::TrainingMethod;
use crate::monitor::Memory;
use crate::optimiser::Optimiser;
use crate::pass::Draws;
use crate::staging::{Arrivals, Prepared};
use crate::step_record::{Seconds, StepRecord};
use crate::validation::Kept;
use crate::{Error, Result};

/// A network in training, with its optimiser, its method, and its progress.
pub struct Trainer {
    pub(crate) network: Network,
    pub(crate) config: TrainingConfig,
    pub(crate) seed: u64,
    pub(crate) method: Box<dyn TrainingMethod>,
    pub(crate) criterion: Criterion,
    pub(crate) optimiser: Optimiser,
    pub(crate) average: Option<Average>,
    pub(crate) arrivals: Arrivals,
    pub(crate) state: State,
    learning_rate: LearningRate,
    /// The processes that train together.
    pub(crate) ranks: Ranks,
    /// How several ranks add up gradients.
    pub(crate) all_reduce: Option<Arc<AllReduce>>,
    pub(crate) draws: Draws,
}

/// The state of a training, apart from weights, velocities and the state of the method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Steps done.
    pub(crate) step: u64,
    /// The step of the last validation.
    pub(crate) validated: Option<u64>,
    /// The best mean IoU of all validations, under `validate_under` if that is set.
    pub(crate) best_miou: Option<f64>,
    /// The number of validation samples behind that score.
    pub(crate) best_samples: usize,
    /// The best weights that are kept, the best first, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kept: Vec<Kept>,
    /// Validations since the best one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) since_best: usize,
    /// Whether the patience ended the training.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) out_of_patience: bool,
    /// The memory of the monitor.
    #[serde(default)]
    pub(crate) monitor: Memory,
    /// Updates of the weights. More than steps if a method repeats batches.
    #[serde(default)]
    pub(crate) updates: u64,
    /// Steps that were skipped because a quantity was not finite.
    pub(crate) left_out: u64,
    /// The time spent so far.
    pub(crate) timing: Timing,
}

/// Values that are off are not in the state.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Totals over all steps of a training, including those before a resumption.
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

/// Describes a network with `branches`, for a message.
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
    /// A training of `network` over `total_steps`, before its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] if `config` is out of range. [`Error::Mismatch`] if the network's
    /// branches are not those that the method needs.
    pub fn new(network: Network, config: &TrainingConfig, seed: u64, total_steps: u64) -> Result<Self> {
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
            criterion: Criterion::new(&config.loss, network.config().num_classes)?,
            optimiser: Optimiser::new(&network, config)?,
            average: config.average.map(|average| Average::new(&network, average)).transpose()?,
            arrivals: Arrivals::new(network.device())?,
            network,
            config: config.clone(),
            seed,
            method: config.method.start(),
            learning_rate: LearningRate::new(config, total_steps),
            ranks: Arc::new(Solo),
            all_reduce: None,
            draws: Draws::new(),
            state: State::default(),
        })
    }

    /// The network in its present state.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network after training.
    pub fn into_network(self) -> Network {
        self.network
    }

    /// The network with the moving average of the weights, if the settings ask for one.
    pub fn averaged(&self) -> Option<&Network> {
        self.average.as_ref().map(Average::network)
    }

    /// The network that validations score: the average if there is one.
    pub(crate) fn scored(&self) -> &Network {
        self.averaged().unwrap_or(&self.network)
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u64 {
        self.state.step
    }

    /// Steps in total.
    pub fn total_steps(&self) -> u64 {
        self.learning_rate.total()
    }

    /// Weighs the classes of a loss with weights by inverse frequency, given the labelled `pixels` of
    /// each class in the training split. [`Trainer::run`] counts them itself.
    pub fn set_class_pixels(&mut self, pixels: &[u64]) {
        self.criterion.weigh(pixels);
    }

    /// The backbone's learning rate at the next step.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.at(self.state.step)
    }

    /// The best mean IoU of all validations so far, under the attack of `validate_under` if there is
    /// one.
    pub fn best_miou(&self) -> Option<f64> {
        self.state.best_miou
    }

    /// The time spent so far.
    pub fn timing(&self) -> Timing {
        self.state.timing
    }

    /// Sends `batch` to the device for a later step. A GPU copies it while it computes. Train on
    /// batches in the order in which they were prepared.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the arrays do not fit the batch.
    pub fn prepare(&mut self, batch: Arc<Batch>) -> Result<Prepared> {
        self.arrivals.send(batch)
    }

    /// Adds a finished step to the totals.
    pub(crate) fn count(&mut self, record: &StepRecord) {
        self.state.step += 1;
        let timing = &mut self.state.timing;
        timing.steps += 1;
        timing.images += record.images as u64;
        timing.attacked += record.attacked as u64;
        timing.seconds += record.seconds;
    }
}
