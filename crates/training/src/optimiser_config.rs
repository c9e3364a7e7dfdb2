//! The choice of an optimiser.

use robustseg_ops::AdamWConfig;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ranges::check;

/// How gradients move the weights. The learning rate, its factor for the head, the weight decay and
/// what it applies to are settings of the training.
///
/// ```
/// use robustseg_training::{AdamW, OptimiserConfig};
///
/// let read: OptimiserConfig = serde_json::from_str(r#"{"adamw": {"beta2": 0.99}}"#)?;
/// assert_eq!(read, OptimiserConfig::Adamw(AdamW { beta2: 0.99, ..AdamW::default() }));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(transform = adamw_by_its_name))]
#[serde(rename_all = "snake_case")]
pub enum OptimiserConfig {
    /// Stochastic gradient descent with `training.momentum`.
    #[default]
    Sgd,
    /// `AdamW` (Loshchilov, Hutter 2019), whose weight decay is decoupled. It does not use
    /// `training.momentum`.
    Adamw(AdamW),
}

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

/// A spec may name an optimiser without settings.
#[cfg(feature = "schema")]
fn adamw_by_its_name(schema: &mut schemars::Schema) {
    let name = serde_json::json!({ "description": "`AdamW` with its defaults.", "const": "adamw" });
    if let Some(choices) = schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut) {
        choices.push(name);
    }
}

impl AdamW {
    /// The constants of step number `step`, from 1.
    pub(crate) fn at(self, learning_rate: f64, weight_decay: f64, step: u64) -> AdamWConfig {
        let Self { beta1, beta2, epsilon } = self;
        AdamWConfig { learning_rate, beta1, beta2, epsilon, weight_decay, step }
    }
}

impl OptimiserConfig {
    /// Refuses settings out of range.
    pub(crate) fn validate(&self) -> Result<()> {
        let Self::Adamw(AdamW { beta1, beta2, epsilon }) = *self else { return Ok(()) };
        let below_one = "must be at least 0 and below 1";
        check("optimiser.adamw.beta1", beta1, (0.0..1.0).contains(&beta1), below_one)?;
        check("optimiser.adamw.beta2", beta2, (0.0..1.0).contains(&beta2), below_one)?;
        check("optimiser.adamw.epsilon", epsilon, epsilon > 0.0, "must be above 0")
    }
}
