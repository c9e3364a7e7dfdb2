//! Batch norm, `ReLU` and convolution.

use super::batch_norm::{Norm, halves, scale_shift};
use super::convolution::{output, weight_gradient};
use super::element::Element;
use crate::norm_convolution::{NormConvolution, WeightGradient};
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::{CudaStorage, Layout, Result};

impl OnGpu<3> for NormConvolution {
    fn compute<T: Element>(&self, [x, parameters, weight]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let activated = activated::<T>(self, x, parameters)?;
        let activated = Input { storage: &activated, layout: &Layout::contiguous(x.layout.shape()) };
        output::<T>(&self.convolve, activated, weight, None)
    }
}

impl OnGpu<3> for WeightGradient<'_> {
    fn compute<T: Element>(&self, [x, parameters, gradient]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let activated = activated::<T>(self.0, x, parameters)?;
        let activated = Input { storage: &activated, layout: &Layout::contiguous(x.layout.shape()) };
        weight_gradient::<T>(&self.0.convolve, activated, gradient)
    }
}

/// The input of the convolution.
pub(super) fn activated<T: Element>(
    operation: &NormConvolution,
    x: Input<'_, CudaStorage>,
    parameters: Input<'_, CudaStorage>,
) -> Result<CudaStorage> {
    Norm::with(&operation.normalise, halves(parameters)?, |norm| scale_shift::<T>(x, norm))
}
