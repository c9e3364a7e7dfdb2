//! Batch norm, `ReLU` and convolution.

use super::batch_norm::{halves, normalise};
use super::convolution::{forward, weight_gradient};
use super::element::Element;
use super::start::Start;
use super::workspace::{self, Workspace};
use crate::norm_convolution::{NormConvolution, WeightGradient};
use crate::operation::{CpuInputs, Input, OnCpu};
use candle_core::{CpuStorage, Result};
use half::bf16;

impl OnCpu<3> for NormConvolution {
    fn compute(&self, inputs: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        output::<f32>(self, inputs)
    }

    fn compute_bf16(&self, inputs: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        output::<bf16>(self, inputs)
    }
}

fn output<T: Element>(
    operation: &NormConvolution,
    [x, parameters, weight]: CpuInputs<'_, 3>,
) -> Result<CpuStorage> {
    let activated = activated::<T>(operation, x, parameters)?;
    let output = forward(&operation.convolve, &activated, weight.slice()?, Start::Zero);
    Ok(T::to_cpu_storage_owned(output))
}

impl OnCpu<3> for WeightGradient<'_> {
    fn compute(&self, inputs: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        kernels::<f32>(self.0, inputs)
    }

    fn compute_bf16(&self, inputs: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        kernels::<bf16>(self.0, inputs)
    }
}

/// The gradient of the convolution's weight.
fn kernels<T: Element>(
    operation: &NormConvolution,
    [x, parameters, gradient]: CpuInputs<'_, 3>,
) -> Result<CpuStorage> {
    let activated = activated::<T>(operation, x, parameters)?;
    Ok(CpuStorage::F32(weight_gradient(&operation.convolve, &activated, gradient.slice()?)))
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
