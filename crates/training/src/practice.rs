//! How adversarial examples enter a training.

use robustseg_models::NormStatistics;
use serde::{Deserialize, Serialize};

/// How a training draws the samples that it attacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdversarialDraw {
    /// A separate draw for each sample.
    #[default]
    Sample,
    /// One draw for the whole batch.
    Batch,
    /// A fixed share of each batch, the probability rounded to whole samples. The draw decides
    /// which samples.
    Exact,
}

/// How adversarial examples enter a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Practice {
    /// Probability of replacing a sample by its adversarial example.
    pub probability: f64,
    /// How the samples are drawn.
    pub draw: AdversarialDraw,
    /// The norm statistics in use while examples are crafted.
    pub statistics: NormStatistics,
}

impl Practice {
    /// Each sample with probability 0.5, on running statistics: Wiens & Hammer 2022, sec. 4.1.2.
    /// The paper does not mention the statistics.
    pub const HALF: Self =
        Self { probability: 0.5, draw: AdversarialDraw::Sample, statistics: NormStatistics::Running };

    /// All samples, on batch statistics: for programs whose model is in training mode throughout.
    pub const ALL: Self =
        Self { probability: 1.0, draw: AdversarialDraw::Sample, statistics: NormStatistics::Batch };

    /// Exactly half of each batch, on running statistics.
    pub const EXACT_HALF: Self = Self { draw: AdversarialDraw::Exact, ..Self::HALF };
}
