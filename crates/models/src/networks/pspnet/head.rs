//! The head that turns pyramid features into logits.

use super::pyramid::BINS;
use crate::classifier::Classifier;
use crate::convolution_head::Dropout;
use crate::pooled::{Pooled, PooledConvolution};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::Alignment;

/// A map and its means to logits (N, h, w, channels). A 3x3 convolution reads the map concatenated
/// with the upsampled means; dropout of whole channels follows in training, then a classifier of
/// each pixel.
pub(super) struct Head {
    convolution: PooledConvolution,
    classifier: Classifier,
    level_channels: usize,
}

impl Head {
    /// A head with logits of `outputs` channels, for a map of `inputs` channels and means of
    /// `channels`. Its variables are `head.*` and `classifier.*`.
    pub(super) fn new(
        inputs: usize,
        channels: usize,
        outputs: usize,
        alignment: Alignment,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let place = variables.at("head");
        let convolution = PooledConvolution::new([inputs, channels], channels, 3, &BINS, alignment, &place)?;
        let classifier = Classifier::new(channels, outputs, &variables.at("classifier"))?;
        Ok(Self { convolution, classifier, level_channels: channels })
    }

    pub(super) fn forward(&self, x: &Pooled, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let x = self.convolution.forward(x, run)?;
        let x = Dropout::Channels.forward(&x, run)?;
        self.classifier.forward(&x, run)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(super) fn cost(&self, size: [usize; 2]) -> u64 {
        let pixels = (size[0] * size[1]) as u64;
        self.convolution.cost(size, self.level_channels) + pixels * self.classifier.cost()
    }
}
