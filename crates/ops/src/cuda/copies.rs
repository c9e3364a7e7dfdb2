//! Copies of many small tensors in one launch.

use super::launch::{grid, launch};
use super::memory::{address, room, stored};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Result, Storage, Tensor};

/// A tensor as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Source {
    address: u64,
    count: u64,
    /// Its place among the copies.
    start: u64,
}

// SAFETY: plain numbers.
unsafe impl DeviceRepr for Source {}

/// Copies of `tensors`, if all are contiguous, f32 and on one GPU.
pub(crate) fn of(tensors: &[&Tensor]) -> Result<Option<Vec<Tensor>>> {
    let Some(Device::Cuda(device)) = tensors.first().map(|tensor| tensor.device()) else {
        return Ok(None);
    };
    let fits = |tensor: &Tensor| {
        tensor.dtype() == DType::F32
            && tensor.is_contiguous()
            && tensor.elem_count() > 0
            && tensor.device().same_device(tensors[0].device())
    };
    if !tensors.iter().all(|tensor| fits(tensor)) {
        return Ok(None);
    }
    let mut start = 0;
    let sources = tensors.iter().map(|tensor| {
        let count = tensor.elem_count();
        let source = Source { address: address::<f32>(device, tensor)?, count: count as u64, start };
        start += count as u64;
        Ok(source)
    });
    let table = device.clone_htod(&sources.collect::<Result<Vec<_>>>()?)?;
    let mut out = room::<f32>(device, start as usize)?;
    launch!(device, "gather_f32", grid([tensors.len(), 1, 1]), &table, &mut out);
    let storage = Storage::Cuda(stored(out, device));
    let all = Tensor::from_storage(storage, start as usize, BackpropOp::none(), false);
    let mut start = 0;
    let copies = tensors.iter().map(|tensor| {
        let count = tensor.elem_count();
        let copy = all.narrow(0, start, count)?.reshape(tensor.dims())?;
        start += count;
        Ok(copy)
    });
    copies.collect::<Result<_>>().map(Some)
}
