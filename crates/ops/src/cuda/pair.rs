//! Two vectors as the rows of a matrix.

use super::element::Element;
use super::memory::{room, stored};
use crate::operation::{GpuInputs, OnGpu};
use crate::pair::Pair;
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Error, Result};

impl OnGpu<2> for Pair {
    fn compute<T: Element>(&self, [first, second]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (first.storage.device(), first.count());
        let (stream, mut out) = (device.cuda_stream(), room::<f32>(device, 2 * count)?);
        for (row, input) in [first, second].into_iter().enumerate() {
            let mut place = out.slice_mut(row * count..(row + 1) * count);
            stream.memcpy_dtod(&input.view::<f32>()?, &mut place).map_err(Error::wrap)?;
        }
        Ok(stored(out, device))
    }
}
