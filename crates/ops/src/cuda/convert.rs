//! Numbers in another element type.

use super::element::Element;
use crate::convert::Convert;
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Convert {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        x.storage.to_dtype(x.layout, self.0)
    }
}
