//! The average over scales of the whole image.

use candle_core::Tensor;
use robustseg_attacks::Model;
use robustseg_ops::log_probabilities;
use serde::{Deserialize, Serialize};

use super::probabilities::{probabilities, resized};
use super::{Rules, check_scales, scales_in_words};
use crate::Result;
use crate::grid::add;
use crate::window::Views;

/// The mean of the probabilities at several scales. The image is scaled bilinearly, the logits are
/// brought to the size of the image, and the softmax is averaged over the scales and, with `flip`,
/// over the mirrored images. This is the test-time augmentation of `DeepLab` and mmsegmentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MultiScale {
    /// Factors of height and width.
    pub scales: Vec<f64>,
    /// Whether to average with the mirrored images.
    pub flip: bool,
}

impl Default for MultiScale {
    fn default() -> Self {
        Self { scales: vec![0.5, 0.75, 1.0, 1.25, 1.5, 1.75], flip: true }
    }
}

fn scaled(side: usize, scale: f64) -> usize {
    ((side as f64 * scale + 0.5) as usize).max(1)
}

impl Rules for MultiScale {
    fn name(&self) -> &'static str {
        "multi_scale"
    }

    fn words(&self) -> String {
        let flip = if self.flip { ", with mirrored images" } else { "" };
        format!("multi_scale: whole image{}{flip}", scales_in_words(&self.scales))
    }

    fn validate(&self) -> Result<()> {
        check_scales("protocol.multi_scale.scales", &self.scales)
    }

    fn views(&self, height: usize, width: usize) -> Vec<Views> {
        let count = if self.flip { 2 } else { 1 };
        let of_scale =
            |&scale: &f64| Views { count, height: scaled(height, scale), width: scaled(width, scale) };
        self.scales.iter().map(of_scale).collect()
    }

    fn logits(&self, model: &dyn Model, image: &Tensor, _: [f32; 3]) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let mut sum = None;
        for &scale in &self.scales {
            let image = resized(image, [scaled(height, scale), scaled(width, scale)])?;
            sum = Some(add(sum, probabilities(model, &image, [height, width], self.flip)?)?);
        }
        let Some(sum) = sum else { candle_core::bail!("multi_scale needs at least one scale") };
        log_probabilities(&(sum / self.scales.len() as f64)?)
    }
}
