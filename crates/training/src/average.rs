//! A moving average of the weights.

use robustseg_models::Network;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ranges::check;

/// An exponential moving average of the weights of a training.
///
/// After update n, counted from 1, `average = d average + (1 - d) weights` with `d = min(decay, n /
/// (n + 9))`, so that the weights of the first updates do not linger. Running statistics of batch
/// norm are averaged in the same way: they trail the weights as the average does. Validations score
/// the average, and `best.safetensors` holds it. Attacks, the monitor and `last.safetensors` have the
/// weights that train.
///
/// Cost: a second copy of the weights in memory and in saved states, and a sweep over them for each
/// update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AverageConfig {
    /// How much of the average an update keeps, at least 0 and below 1.
    pub decay: f64,
}

impl Default for AverageConfig {
    /// A decay of 0.999, a memory of about 1000 updates.
    fn default() -> Self {
        Self { decay: 0.999 }
    }
}

impl AverageConfig {
    /// Refuses settings out of range.
    pub(crate) fn validate(self) -> Result<()> {
        let range = "must be at least 0 and below 1";
        check("average.decay", self.decay, (0.0..1.0).contains(&self.decay), range)
    }
}

/// The average in a running training.
pub(crate) struct Average {
    config: AverageConfig,
    network: Network,
}

impl Average {
    /// The average before the first update of `network`: its weights.
    pub(crate) fn new(network: &Network, config: AverageConfig) -> Result<Self> {
        let mut average = Network::blank(network.config(), network.device())?;
        average.set_precision(network.precision())?;
        for (name, parameter) in network.parameters() {
            robustseg_ops::assign(&average.parameters()[name].var, &parameter.var)?;
        }
        Ok(Self { config, network: average })
    }

    /// The network with the averaged weights and statistics.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Takes in the weights of `network` after update number `update`, from 1.
    pub(crate) fn take_in(&self, network: &Network, update: u64) -> Result<()> {
        let kept = self.config.decay.min(update as f64 / (update as f64 + 9.0));
        for (name, parameter) in network.parameters() {
            let average = &self.network.parameters()[name].var;
            let mean = ((average.as_tensor() * kept)? + (parameter.var.as_tensor() * (1.0 - kept))?)?;
            robustseg_ops::assign(average, &mean)?;
        }
        Ok(())
    }
}
