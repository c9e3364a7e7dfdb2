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

    /// The softmax of each labelled pixel, and for each class the slopes in its place.
    fn memory(&self, images: usize, pixels: usize, classes: usize) -> usize {
        let at_once = if self.per_image { 1 } else { images };
        [2 * size_of::<f32>(), at_once, pixels, classes].into_iter().fold(1, usize::saturating_mul)
    }

    fn value(&self, scene: &Scene<'_>) -> Result<Tensor> {
        Ok(lovasz_softmax(scene.logits, scene.labels, self.per_image, scene.alignment)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CrossEntropy, LossConfig};

    #[test]
    fn its_memory_is_that_of_the_images_it_takes_together() {
        let (batch, images) = (Lovasz::default(), Lovasz { per_image: true, ..Lovasz::default() });
        assert_eq!(LossConfig::from(batch.clone()).memory(4, 100, 21), 8 * 4 * 100 * 21);
        assert_eq!(LossConfig::from(images).memory(4, 100, 21), 8 * 100 * 21);
        assert_eq!(LossConfig::default().memory(4, 100, 21), 0);
        let both = LossConfig::from(CrossEntropy::default()).plus(batch);
        assert_eq!(both.memory(4, 100, 21), 8 * 4 * 100 * 21);
    }
}
