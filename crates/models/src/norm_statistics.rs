//! The statistics that batch norm uses while the weights rest.

use serde::{Deserialize, Serialize};

use crate::Mode;

/// The statistics that batch norm uses while attacks are crafted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NormStatistics {
    /// The running ones: the network as an evaluation sees it.
    #[default]
    Running,
    /// Those of the attacked images; the running ones stay unchanged.
    Batch,
}

impl NormStatistics {
    /// The mode of a network with these statistics and detached weights.
    pub fn mode(self) -> Mode<'static> {
        match self {
            Self::Running => Mode::Evaluation,
            Self::Batch => Mode::BatchStatistics,
        }
    }
}
