//! The unit of the head.

use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::Conv2dConfig;

/// A convolution that keeps the size, batch norm and `ReLU`.
pub(super) struct Unit {
    pub(super) convolution: Convolution,
    pub(super) norm: NormRelu,
}

impl Unit {
    /// Its variables are `conv.weight` and `batch_norm.*`; `kernel` is odd.
    pub(super) fn new(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
        Ok(Self {
            convolution: Convolution::new(inputs, outputs, kernel, config, &variables.at("conv"))?,
            norm: NormRelu::new(outputs, &variables.at("batch_norm"))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.norm.forward_behind(&self.convolution, x, run)
    }
}
