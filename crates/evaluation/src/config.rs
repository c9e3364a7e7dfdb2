//! The settings of an evaluation.

use robustseg_attacks::CurveConfig;
use serde::{Deserialize, Serialize};

use crate::window::Window;
use crate::{Error, Result};

/// The settings of an evaluation. The default is the paper's: FGSM and BIM, epsilon from 0 to 0.04.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// The split to evaluate on; the data's validation split by default.
    pub split: Option<String>,
    /// How many samples of the split to take, evenly spaced over it; all by default.
    pub limit: Option<usize>,
    /// Images at once; only neighbours of the same size share a batch. An image's random starts depend on its place in
    /// the batch.
    pub batch_size: usize,
    /// Decides the random starts of attacks. It is not the experiment's seed: runs with different seeds face the same
    /// attacks.
    pub seed: u64,
    /// How the network sees an image.
    pub window: Window,
    /// Which of the training's weights are evaluated.
    pub weights: Weights,
    /// The robustness curves.
    pub curves: Vec<CurveConfig>,
    /// How many samples become examples: those that suffer most from the last curve at its largest epsilon.
    pub examples: usize,
}

/// Which weights of a training are evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Those at the end of the training, as in the paper.
    #[default]
    Last,
    /// Those with the highest clean mean IoU of all validations. If the validation split is also the one evaluated, that is
    /// a selection on the test data, and the report says so.
    Best,
}

impl Weights {
    /// Their name in specs and results, which is also that of their checkpoint's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            split: None,
            limit: None,
            batch_size: 1,
            seed: 0,
            window: Window::default(),
            weights: Weights::default(),
            curves: paper_curves(),
            examples: 4,
        }
    }
}

impl EvaluationConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Curve`] with the first of them.
    pub fn validate(&self) -> Result<()> {
        at_least_one("batch_size", self.batch_size)?;
        if let Some(limit) = self.limit {
            at_least_one("limit", limit)?;
        }
        self.window.validate()?;
        for (index, curve) in self.curves.iter().enumerate() {
            let attack = curve.name();
            let named = |source| Error::Curve { index, attack, source: Box::new(source) };
            curve.validate().map_err(named)?;
        }
        Ok(())
    }
}

/// FGSM and BIM with the settings and epsilons of Wiens & Hammer 2022.
fn paper_curves() -> Vec<CurveConfig> {
    CurveConfig::all().into_iter().filter(|curve| ["fgsm", "bim"].contains(&curve.name())).collect()
}

fn at_least_one(field: &'static str, value: usize) -> Result<()> {
    if value >= 1 {
        return Ok(());
    }
    Err(Error::Setting { field, reason: "must be at least 1".into() })
}

/// At most `limit` of the indices below `count`, evenly spaced.
pub fn evenly_spaced(count: usize, limit: Option<usize>) -> Vec<usize> {
    let taken = limit.unwrap_or(count).min(count);
    (0..taken).map(|index| index * count / taken).collect()
}
