//! Stochastic gradient descent.

use robustseg_ops::{SgdConfig, SgdUpdate, sgd_step};
use serde::{Deserialize, Serialize};

use super::{Common, Rule, Trained};
use crate::{Error, Result};

/// The settings of SGD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// Whether a step looks ahead along the velocity (Nesterov's momentum, as in PyTorch).
    pub nesterov: bool,
}

impl Rule for Sgd {
    fn quantities(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn validate(&self, Common { momentum }: Common) -> Result<()> {
        if self.nesterov && momentum == 0.0 {
            let reason = "needs momentum, which is 0; set momentum, or leave nesterov out".into();
            return Err(Error::Setting { field: "optimiser.sgd.nesterov", reason });
        }
        Ok(())
    }

    fn step(
        &self,
        trained: &[Trained<'_>],
        Common { momentum }: Common,
        _update: u64,
    ) -> Result<Option<usize>> {
        let updates = trained.iter().map(|trained| {
            let &Trained { parameter, gradient, learning_rate, weight_decay, .. } = trained;
            let config = SgdConfig { learning_rate, momentum, weight_decay, nesterov: self.nesterov };
            SgdUpdate { parameter, gradient, velocity: trained.state[0], config }
        });
        Ok(sgd_step(&updates.collect::<Vec<_>>())?)
    }
}
