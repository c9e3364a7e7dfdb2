//! The Gaussian error linear unit.

use super::element::{Element, stamped, width};
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use crate::gelu::{Gelu, GeluGradient};
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Gelu {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let width = width::<T>(count, &[x.layout]);
        let packs = count / width;
        let mut out = room::<T>(device, count)?;
        let (name, x) = (stamped::<T>("gelu", width), x.view::<T>()?);
        launch!(device, &name, per_element(packs), &x, &(packs as u64), &mut out);
        Ok(stored(out, device))
    }
}

impl OnGpu<2> for GeluGradient {
    fn compute<T: Element>(&self, [x, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let width = width::<T>(count, &[x.layout, gradient.layout]);
        let packs = count / width;
        let mut out = room::<T>(device, count)?;
        let (name, x, gradient) =
            (stamped::<T>("gelu_gradient", width), x.view::<T>()?, gradient.view::<T>()?);
        launch!(device, &name, per_element(packs), &x, &gradient, &(packs as u64), &mut out);
        Ok(stored(out, device))
    }
}
