//! The mean cross-entropy over labelled pixels, equation 13 of Wiens & Hammer 2022.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, pixel_objective_mean, weighted_cross_entropy};
use serde::{Deserialize, Serialize};

use super::{ClassWeights, Scene, Term};
use crate::Result;

/// The mean cross-entropy over the labelled pixels of the batch, by the weights of their classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropy {
    /// Factor on the loss, above 0.
    pub weight: f64,
    /// How much a pixel counts by its class.
    pub class_weights: ClassWeights,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self { weight: 1.0, class_weights: ClassWeights::Equal }
    }
}

impl Term for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn summary(&self) -> &'static str {
        "The mean cross-entropy over labelled pixels."
    }

    fn weight(&self) -> (&'static str, f64) {
        ("loss.cross_entropy.weight", self.weight)
    }

    fn class_weights(&self) -> Option<(&'static str, &ClassWeights)> {
        Some(("loss.cross_entropy.class_weights", &self.class_weights))
    }

    fn value(&self, scene: &Scene<'_>) -> Result<Tensor> {
        let &Scene { logits, labels, alignment, class_weights } = scene;
        Ok(match class_weights {
            None => pixel_objective_mean(logits, labels, PixelObjective::CrossEntropy, alignment)?,
            Some(weights) => weighted_cross_entropy(logits, labels, weights, alignment)?,
        })
    }
}
