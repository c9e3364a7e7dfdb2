//! Bilinear upsampling.

use super::element::Element;
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use super::resize::Sizes;
use crate::operation::{GpuInputs, Input, OnGpu};
use crate::resize::Resize;
use crate::upsample::{Upsample, UpsampleGradient};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Upsample {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        sweep("upsample_f32", &self.0, x, self.0.target)
    }
}

impl OnGpu<1> for UpsampleGradient {
    fn compute<T: Element>(&self, [gradient]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        sweep("upsample_gradient_f32", &self.0, gradient, self.0.source)
    }
}

fn sweep(
    name: &str,
    r: &Resize,
    x: Input<'_, CudaStorage>,
    [height, width]: [usize; 2],
) -> Result<CudaStorage> {
    let (device, count) = (x.storage.device(), x.dims()[0] * height * width * r.channels);
    let mut out = room::<f32>(device, count)?;
    let x = x.view::<f32>()?;
    launch!(device, name, per_element(count), &x, &Sizes::from(r), &(count as u64), &mut out);
    Ok(stored(out, device))
}
