//! `AdamW`: Loshchilov, Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019.

use robustseg_ops::{AdamWConfig, AdamWUpdate, adamw_step};
use serde::{Deserialize, Serialize};

use super::{Common, Rule, Trained};
use crate::Result;
use crate::ranges::check;

/// The settings of `AdamW`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Share of the previous mean gradient that is kept, at least 0 and below 1.
    pub beta1: f64,
    /// Share of the previous mean square that is kept, at least 0 and below 1.
    pub beta2: f64,
    /// Added to the root of the mean square, above 0.
    pub epsilon: f64,
}

impl Default for AdamW {
    /// PyTorch's: 0.9, 0.999, 1e-8.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Rule for AdamW {
    fn quantities(&self) -> &'static [&'static str] {
        &["mean", "square"]
    }

    fn validate(&self, _common: Common) -> Result<()> {
        let Self { beta1, beta2, epsilon } = *self;
        let below_one = "must be at least 0 and below 1";
        check("optimiser.adamw.beta1", beta1, (0.0..1.0).contains(&beta1), below_one)?;
        check("optimiser.adamw.beta2", beta2, (0.0..1.0).contains(&beta2), below_one)?;
        check("optimiser.adamw.epsilon", epsilon, epsilon > 0.0, "must be above 0")
    }

    fn step(&self, trained: &[Trained<'_>], _common: Common, update: u64) -> Result<Option<usize>> {
        let Self { beta1, beta2, epsilon } = *self;
        let updates = trained.iter().map(|trained| {
            let &Trained { parameter, gradient, learning_rate, weight_decay, .. } = trained;
            let config = AdamWConfig { learning_rate, beta1, beta2, epsilon, weight_decay, step: update };
            AdamWUpdate { parameter, gradient, mean: trained.state[0], square: trained.state[1], config }
        });
        Ok(adamw_step(&updates.collect::<Vec<_>>())?)
    }
}
