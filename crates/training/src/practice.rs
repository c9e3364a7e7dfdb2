//! How adversarial examples enter a training.

use robustseg_models::NormStatistics;
use serde::{Deserialize, Serialize};

/// How a training draws the samples that it attacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdversarialDraw {
    /// Each sample by its own draw.
    #[default]
    Sample,
    /// One draw for the whole batch.
    Batch,
    /// The probability's share of each batch, to the nearest whole sample; the draw decides which.
    Exact,
}

/// How adversarial examples enter a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Practice {
    /// Probability with which a sample is replaced by its adversarial example.
    pub probability: f64,
    /// How the samples are drawn.
    pub draw: AdversarialDraw,
    /// The statistics that batch norm uses while the examples are crafted.
    pub statistics: NormStatistics,
}

impl Practice {
    /// Each sample with probability 0.5, on running statistics: Wiens & Hammer 2022, sec. 4.1.2 (silent about the
    /// statistics).
    pub const HALF: Self =
        Self { probability: 0.5, draw: AdversarialDraw::Sample, statistics: NormStatistics::Running };

    /// All samples, on the batch's own statistics: programs whose model is in training mode throughout.
    pub const ALL: Self =
        Self { probability: 1.0, draw: AdversarialDraw::Sample, statistics: NormStatistics::Batch };

    /// Exactly half of each batch, on running statistics.
    pub const EXACT_HALF: Self = Self { draw: AdversarialDraw::Exact, ..Self::HALF };
}
