//! The optimisers and their registry.
//!
//! An optimiser is a file here: a struct of settings with `Default`, and its [`Rule`]. One line in
//! the list below makes it known to specs and the schema.

mod adamw;
mod sgd;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::choice::choices;

choices! {
    /// How gradients move the weights. The learning rate, its factor for the head, the weight decay
    /// and what it applies to are settings of the training.
    ///
    /// ```
    /// use robustseg_training::{AdamW, OptimiserConfig};
    ///
    /// let read: OptimiserConfig = serde_json::from_str(r#"{"adamw": {"beta2": 0.99}}"#)?;
    /// assert_eq!(read, AdamW { beta2: 0.99, ..AdamW::default() }.into());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    OptimiserConfig as dyn Rule {
        /// Stochastic gradient descent with `training.momentum`.
        Sgd(sgd::Sgd),
        /// `AdamW` (Loshchilov, Hutter 2019), whose weight decay is decoupled. It does not use
        /// `training.momentum`.
        Adamw(adamw::AdamW),
    }
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        Sgd::default().into()
    }
}

/// What an optimiser does.
pub(crate) trait Rule {
    /// The names of quantities that it keeps for each parameter. All start at zero.
    fn quantities(&self) -> &'static [&'static str];

    /// Refuses settings out of range, given those of the training.
    fn validate(&self, common: Common) -> Result<()>;

    /// Update number `update`, from 1, of all parameters. If a gradient is not finite, nothing
    /// changes, and the result is the index of the first such parameter.
    fn step(&self, trained: &[Trained<'_>], common: Common, update: u64) -> Result<Option<usize>>;
}

/// The settings of a training that some optimisers share.
#[derive(Clone, Copy)]
pub(crate) struct Common {
    pub(crate) momentum: f64,
}

/// A parameter in an update.
pub(crate) struct Trained<'a> {
    pub(crate) parameter: &'a Var,
    pub(crate) gradient: &'a Tensor,
    /// In the order of [`Rule::quantities`].
    pub(crate) state: Vec<&'a Var>,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
}
