//! Lovász-softmax: Berman, Triki, Blaschko, *The Lovász-Softmax Loss*, CVPR 2018.

use candle_core::Tensor;
use robustseg_ops::lovasz_softmax;
use serde::{Deserialize, Serialize};

use super::{Scene, Term};
use crate::Result;

/// A surrogate of one minus the mean IoU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Lovasz {
    /// Factor on the loss, above 0.
    pub weight: f64,
    /// Whether the IoU is that of each image rather than of the batch.
    pub per_image: bool,
}

impl Default for Lovasz {
    /// Over the batch, as in the authors' program.
    fn default() -> Self {
        Self { weight: 1.0, per_image: false }
    }
}

impl Term for Lovasz {
    fn name(&self) -> &'static str {
        "lovasz"
    }

    fn summary(&self) -> &'static str {
        "Lovász-softmax, a surrogate of one minus the mean IoU."
    }

    fn weight(&self) -> (&'static str, f64) {
        ("loss.lovasz.weight", self.weight)
    }

    fn value(&self, scene: &Scene<'_>) -> Result<Tensor> {
        Ok(lovasz_softmax(scene.logits, scene.labels, self.per_image, scene.alignment)?)
    }
}
