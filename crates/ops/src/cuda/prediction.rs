//! Predicted classes at full size.

use super::element::Element;
use super::launch::{launch, per_element};
use super::memory::{room, stored};
use super::resize::Sizes;
use crate::operation::{GpuInputs, OnGpu};
use crate::prediction::Predict;
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result};

impl OnGpu<1> for Predict {
    fn compute<T: Element>(&self, [logits]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let [height, width] = self.0.target;
        let (device, count) = (logits.storage.device(), logits.dims()[0] * height * width);
        let mut out = room::<u8>(device, count)?;
        let (logits, sizes) = (logits.view::<f32>()?, Sizes::from(&self.0));
        launch!(device, "predict_f32", per_element(count), &logits, &sizes, &(count as u64), &mut out);
        Ok(stored(out, device))
    }
}
