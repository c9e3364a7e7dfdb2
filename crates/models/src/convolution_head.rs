//! The head of fully convolutional networks (Long et al. 2015), which is also the auxiliary head of
//! other networks.

use crate::classifier::Classifier;
use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::Conv2dConfig;

/// What a training drops before a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropout {
    /// Nothing.
    Never,
    /// Whole channels of an image.
    Channels,
    /// Single elements.
    Elements,
}

impl Dropout {
    /// `x` (N, h, w, C) after dropout at the training's rate.
    pub(crate) fn forward(self, x: &Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        match self {
            Self::Never => Ok(x.clone()),
            Self::Channels => run.dropout(x),
            Self::Elements => {
                let rate = run.mode.dropout_rate();
                run.dropout_elements(x, rate)
            }
        }
    }
}

/// The settings of a [`ConvolutionHead`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadShape {
    /// Channels of its input.
    pub(crate) inputs: usize,
    /// Channels between convolution and classifier.
    pub(crate) middle: usize,
    /// Side of the convolution's kernel.
    pub(crate) kernel: usize,
    pub(crate) dropout: Dropout,
}

/// Convolution, norm, `ReLU`, dropout and classifier.
pub(crate) struct ConvolutionHead {
    convolution: Convolution,
    norm: NormRelu,
    dropout: Dropout,
    classifier: Classifier,
}

impl ConvolutionHead {
    /// Its variables are `head.conv.weight`, `head.norm.*` and `classifier.{weight,bias}`.
    pub(crate) fn new(shape: HeadShape, outputs: usize, variables: &Variables<'_>) -> Result<Self> {
        let HeadShape { inputs, middle, kernel, dropout } = shape;
        let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
        Ok(Self {
            convolution: Convolution::new(inputs, middle, kernel, config, &variables.at("head.conv"))?,
            norm: NormRelu::new(middle, &variables.at("head.norm"))?,
            dropout,
            classifier: Classifier::new(middle, outputs, &variables.at("classifier"))?,
        })
    }

    /// Logits (N, h, w, outputs) of `x` (N, h, w, inputs).
    pub(crate) fn forward(&self, x: &Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let x = self.norm.forward_behind(&self.convolution, x, run)?;
        let x = self.dropout.forward(&x, run)?;
        self.classifier.forward(&x, run)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(crate) fn cost(&self, size: [usize; 2]) -> u64 {
        self.convolution.cost(size).1 + (size[0] * size[1]) as u64 * self.classifier.cost()
    }
}
