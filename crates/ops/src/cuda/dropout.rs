//! What dropout drops.

use super::element::Element;
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use crate::dropout::DropoutFactors;
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for DropoutFactors {
    fn compute<T: Element>(&self, [uniforms]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, count) = (uniforms.storage.device(), uniforms.count());
        let mut out = room::<f32>(device, count)?;
        launch!(
            device,
            "dropout_factors",
            per_element(count),
            &uniforms.view::<f64>()?,
            &self.rate,
            &self.kept(),
            &(count as u64),
            &mut out,
        );
        Ok(stored(out, device))
    }
}
