//! Batch norm, `ReLU` and convolution.

use super::batch_norm::{halves, normalise};
use super::convolution::{forward, weight_gradient};
use super::element::{ByElement, Element};
use super::start::Start;
use super::workspace::{self, Workspace};
use crate::norm_convolution::{NormConvolution, WeightGradient};
use crate::operation::{CpuInputs, Input};
use candle_core::{CpuStorage, Result};

impl ByElement<3> for NormConvolution {
    fn compute<T: Element>(&self, [x, parameters, weight]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let activated = activated::<T>(self, x, parameters)?;
        Ok(T::to_cpu_storage_owned(forward(&self.convolve, &activated, weight.slice()?, Start::Zero)))
    }
}

impl ByElement<3> for WeightGradient<'_> {
    fn compute<T: Element>(&self, [x, parameters, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let activated = activated::<T>(self.0, x, parameters)?;
        Ok(CpuStorage::F32(weight_gradient(&self.0.convolve, &activated, gradient.slice()?)))
    }
}

/// The input of the convolution.
fn activated<T: Element>(
    operation: &NormConvolution,
    x: Input<'_, CpuStorage>,
    parameters: Input<'_, CpuStorage>,
) -> Result<Workspace<T>> {
    let x = x.slice()?;
    let mut activated = workspace::take(x.len());
    normalise(&operation.normalise, &mut activated, x, halves(parameters.slice()?))?;
    Ok(activated)
}
