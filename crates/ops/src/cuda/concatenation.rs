//! Parts of tensors along an axis, and their concatenation.

use super::element::Element;
use super::memory::{room, stored};
use super::rearrange::{Arrangement, rearrange};
use crate::concatenation::{Concatenation, Part, Placed};
use crate::operation::{GpuInputs, OnGpu, Operation};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result, Shape};

/// The number of rows before `axis`, and of elements for each of the axis in them.
fn sheet(shape: &Shape, axis: usize) -> (usize, usize) {
    let (rows, columns) = shape.dims().split_at(axis);
    (rows.iter().product(), columns[1..].iter().product())
}

impl OnGpu<1> for Part {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, shape) = (x.storage.device(), x.layout.shape());
        let (rows, size) = sheet(shape, self.axis);
        let (own, whole) = (self.count * size, shape.dims()[self.axis] * size);
        let mut out = room::<T>(device, rows * own)?;
        let columns = Arrangement::columns(rows, own, whole, own);
        rearrange(device, &x.view::<T>()?.slice(self.start * size..), columns, &mut out.slice_mut(..))?;
        Ok(stored(out, device))
    }
}

impl OnGpu<1> for Placed {
    fn compute<T: Element>(&self, [part]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let device = part.storage.device();
        let (rows, size) = sheet(part.layout.shape(), self.part.axis);
        let (own, whole) = (self.part.count * size, self.whole * size);
        let mut out = device.alloc_zeros::<T>(rows * whole)?;
        let columns = Arrangement::columns(rows, own, own, whole);
        let mut place = out.slice_mut(self.part.start * size..);
        rearrange(device, &part.view::<T>()?, columns, &mut place)?;
        Ok(stored(out, device))
    }
}

impl<const N: usize> OnGpu<N> for Concatenation<N> {
    fn compute<T: Element>(&self, tensors: GpuInputs<'_, N>) -> Result<CudaStorage> {
        let device = tensors[0].storage.device();
        let whole = self.shape(tensors.map(|tensor| tensor.layout.shape()));
        let (rows, size) = sheet(&whole, self.axis);
        let width = whole.dims()[self.axis] * size;
        let (mut out, mut start) = (room::<T>(device, rows * width)?, 0);
        for (tensor, count) in tensors.into_iter().zip(self.counts) {
            let columns = Arrangement::columns(rows, count * size, count * size, width);
            rearrange(device, &tensor.view::<T>()?, columns, &mut out.slice_mut(start..))?;
            start += count * size;
        }
        Ok(stored(out, device))
    }
}
