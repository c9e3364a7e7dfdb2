//! The last layer of a head.

use crate::ParameterKind;
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{DType, Result, Tensor};
use robustseg_ops::{Conv2dConfig, RoundedCopy, add_bias, conv2d, convert};

/// A 1x1 convolution with bias, which classifies each pixel.
pub(crate) struct Classifier {
    weight: Tensor,
    rounded: RoundedCopy,
    bias: Tensor,
}

impl Classifier {
    /// Its variables are `weight` and `bias`.
    pub(crate) fn new(inputs: usize, outputs: usize, variables: &Variables<'_>) -> Result<Self> {
        Ok(Self {
            rounded: RoundedCopy::default(),
            weight: variables.convolution([outputs, 1, 1, inputs], "weight")?,
            bias: variables.constant(outputs, "bias", ParameterKind::Bias, 0.0)?,
        })
    }

    /// Logits (N, h, w, outputs), f32.
    pub(crate) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let weight = self.rounded.of(&self.weight, x.dtype(), run.mode.tracks_weights())?;
        let logits = conv2d(x, &weight, Conv2dConfig::default(), run.arithmetic)?;
        add_bias(&convert(&logits, DType::F32)?, &run.mode.weight(&self.bias))
    }

    /// Multiply-adds for each pixel.
    pub(crate) fn cost(&self) -> u64 {
        self.weight.elem_count() as u64
    }
}
