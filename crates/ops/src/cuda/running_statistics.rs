//! Running statistics of batch norm, in place.

use super::element::Element;
use super::launch::{launch, per_element};
use super::memory::view_mut;
use crate::in_place::UpdateOnGpu;
use crate::operation::GpuInputs;
use crate::running_statistics::Blend;
use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, Layout, Result};

impl UpdateOnGpu<1> for Blend {
    fn update<T: Element>(
        &self,
        running: &mut CudaStorage,
        layout: &Layout,
        [new]: GpuInputs<'_, 1>,
    ) -> Result<()> {
        let (device, count): (CudaDevice, _) = (new.storage.device().clone(), new.count());
        launch!(
            &device,
            "blend_f32",
            per_element(count),
            &mut view_mut::<f32>(running, layout)?,
            &new.view::<f32>()?,
            &self.kept,
            &self.taken,
            &(count as u64),
        );
        Ok(())
    }
}
