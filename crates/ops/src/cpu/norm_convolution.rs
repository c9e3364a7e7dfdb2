//! Batch norm, `ReLU` and convolution.

use super::batch_norm::{halves, normalise};
use super::convolution::{forward, weight_gradient};
use super::start::Start;
use super::workspace::{self, Workspace};
use crate::norm_convolution::{NormConvolution, WeightGradient};
use crate::operation::{CpuInputs, Input, OnCpu};
use candle_core::{CpuStorage, Result};

impl OnCpu<3> for NormConvolution {
    fn compute(&self, [x, parameters, weight]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let activated = activated(self, x, parameters)?;
        Ok(CpuStorage::F32(forward(&self.convolve, &activated, weight.slice()?, Start::Zero)))
    }
}

impl OnCpu<3> for WeightGradient<'_> {
    fn compute(&self, [x, parameters, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let activated = activated(self.0, x, parameters)?;
        Ok(CpuStorage::F32(weight_gradient(&self.0.convolve, &activated, gradient.slice()?)))
    }
}

/// The input of the convolution.
fn activated(
    operation: &NormConvolution,
    x: Input<'_, CpuStorage>,
    parameters: Input<'_, CpuStorage>,
) -> Result<Workspace> {
    let x = x.slice()?;
    let mut activated = workspace::take(x.len());
    normalise(&operation.normalise, &mut activated, x, halves(parameters.slice()?))?;
    Ok(activated)
}
