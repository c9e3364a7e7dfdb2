//! Contiguous copies of views.

use super::element::Element;
use super::memory::{room, stored};
use super::rearrange::{Arrangement, rearrange};
use crate::contiguous::Contiguous;
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Contiguous {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let device = x.storage.device();
        let mut arrangement = Arrangement { extents: [1; 4], from: [0; 4], to: [0; 4] };
        let mut apart = 1;
        let axes = x.layout.dims().iter().zip(x.layout.stride()).rev();
        for (axis, (&extent, &stride)) in axes.enumerate() {
            let axis = 3 - axis;
            (arrangement.extents[axis], arrangement.from[axis], arrangement.to[axis]) =
                (extent, stride, apart);
            apart *= extent;
        }
        let mut out = room::<T>(device, apart)?;
        let from = x.storage.as_cuda_slice::<T>()?.slice(x.layout.start_offset()..);
        rearrange(device, &from, arrangement, &mut out.slice_mut(..))?;
        Ok(stored(out, device))
    }
}
