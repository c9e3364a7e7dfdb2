//! Online hard example mining: Shrivastava, Gupta, Girshick, *Training Region-based Object Detectors
//! with Online Hard Example Mining*, CVPR 2016, for pixels as in the program of `HRNet`.

use candle_core::Tensor;
use robustseg_ops::{Hardest, ohem_cross_entropy};
use serde::{Deserialize, Serialize};

use super::{ClassWeights, Scene, Term};
use crate::Result;
use crate::ranges::check;

/// The mean cross-entropy over the hardest pixels of the batch: those whose label has a softmax below
/// `threshold`, and at least the hardest `share`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Ohem {
    /// Factor on the loss, above 0.
    pub weight: f64,
    /// Softmax of the label below which a pixel is hard, from 0 to 1.
    pub threshold: f64,
    /// The least share of the batch's labelled pixels to keep, above 0 and at most 1.
    pub share: f64,
    /// How much a pixel counts by its class.
    pub class_weights: ClassWeights,
}

impl Default for Ohem {
    /// `HRNet`'s threshold of 0.7, and a sixteenth of the pixels: about its 131072 of 1024 x 2048.
    fn default() -> Self {
        Self { weight: 1.0, threshold: 0.7, share: 0.0625, class_weights: ClassWeights::Equal }
    }
}

impl Term for Ohem {
    fn name(&self) -> &'static str {
        "ohem"
    }

    fn summary(&self) -> &'static str {
        "The mean cross-entropy over the hardest pixels."
    }

    fn weight(&self) -> (&'static str, f64) {
        ("loss.ohem.weight", self.weight)
    }

    fn validate(&self) -> Result<()> {
        let Self { threshold, share, .. } = *self;
        check("loss.ohem.threshold", threshold, (0.0..=1.0).contains(&threshold), "must be from 0 to 1")?;
        check("loss.ohem.share", share, share > 0.0 && share <= 1.0, "must be above 0 and at most 1")
    }

    fn class_weights(&self) -> Option<(&'static str, &ClassWeights)> {
        Some(("loss.ohem.class_weights", &self.class_weights))
    }

    fn value(&self, scene: &Scene<'_>) -> Result<Tensor> {
        let &Scene { logits, labels, alignment, class_weights } = scene;
        let hardest = Hardest { threshold: self.threshold, share: self.share };
        Ok(ohem_cross_entropy(logits, labels, hardest, class_weights, alignment)?)
    }
}
