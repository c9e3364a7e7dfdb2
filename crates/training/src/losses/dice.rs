//! The Dice loss: Milletari, Navab, Ahmadi, *V-Net: Fully Convolutional Neural Networks for Volumetric
//! Medical Image Segmentation*, 3DV 2016.

use candle_core::Tensor;
use robustseg_ops::dice_loss;
use serde::{Deserialize, Serialize};

use super::{Scene, Term};
use crate::Result;
use crate::ranges::check;

/// One minus the soft Dice coefficient, averaged over the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Dice {
    /// Factor on the loss, above 0.
    pub weight: f64,
    /// Added to numerator and denominator of each class, in pixels, at least 0.
    pub smooth: f64,
}

impl Default for Dice {
    /// Without smoothing, as in segmentation-models-pytorch.
    fn default() -> Self {
        Self { weight: 1.0, smooth: 0.0 }
    }
}

impl Term for Dice {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn summary(&self) -> &'static str {
        "One minus the soft Dice coefficient of each class."
    }

    fn weight(&self) -> (&'static str, f64) {
        ("loss.dice.weight", self.weight)
    }

    fn validate(&self) -> Result<()> {
        check("loss.dice.smooth", self.smooth, self.smooth >= 0.0, "must be at least 0")
    }

    fn value(&self, scene: &Scene<'_>) -> Result<Tensor> {
        Ok(dice_loss(scene.logits, scene.labels, self.smooth, scene.alignment)?)
    }
}
