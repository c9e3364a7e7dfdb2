//! Bilinear upsampling.

use super::element::{Element, stamped};
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use super::resize::Sizes;
use crate::operation::{GpuInputs, Input, OnGpu};
use crate::resize::Resize;
use crate::upsample::{Upsample, UpsampleGradient};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Upsample {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        upsample::<T>(&self.0, x, None)
    }
}

impl OnGpu<2> for Upsample {
    fn compute<T: Element>(&self, [x, residual]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        upsample::<T>(&self.0, x, Some(residual))
    }
}

impl OnGpu<1> for UpsampleGradient {
    fn compute<T: Element>(&self, [gradient]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (r, device) = (&self.0, gradient.storage.device());
        let count = gradient.dims()[0] * r.source[0] * r.source[1] * r.channels;
        let mut out = room::<T>(device, count)?;
        let (name, gradient) = (stamped::<T>("upsample_gradient", 1), gradient.view::<T>()?);
        launch!(device, &name, per_element(count), &gradient, &Sizes::from(r), &(count as u64), &mut out);
        Ok(stored(out, device))
    }
}

/// The upsampled `x`, plus `residual`.
fn upsample<T: Element>(
    r: &Resize,
    x: Input<'_, CudaStorage>,
    residual: Option<Input<'_, CudaStorage>>,
) -> Result<CudaStorage> {
    let (device, count) = (x.storage.device(), x.dims()[0] * r.target[0] * r.target[1] * r.channels);
    let (name, stream) = (stamped::<T>("upsample", 1), device.cuda_stream());
    let residual = residual.map(Input::view::<T>).transpose()?;
    let added = residual.as_ref().map(|residual| residual.device_ptr(&stream));
    // Null without one.
    let added = added.as_ref().map_or(0, |(address, _)| *address);
    let mut out = room::<T>(device, count)?;
    let (x, sizes) = (x.view::<T>()?, Sizes::from(r));
    launch!(device, &name, per_element(count), &x, &added, &sizes, &(count as u64), &mut out);
    Ok(stored(out, device))
}
