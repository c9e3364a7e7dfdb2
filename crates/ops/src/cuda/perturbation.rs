//! The arithmetic of sign-gradient attacks.

use super::element::Element;
use super::launch::{grid, launch, per_element};
use super::memory::{room, stored};
use crate::operation::{GpuInputs, OnGpu};
use crate::perturbation::{L1Norm, Project, SignStep};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaStorage, DType, Result, bail};

impl OnGpu<3> for SignStep {
    fn compute<T: Element>(&self, inputs: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        match inputs[0].storage.dtype() {
            DType::F64 => over_images::<f64, f32>("sign_step_f64", inputs),
            _ => over_images::<f32, f32>("sign_step_f32", inputs),
        }
    }
}

impl OnGpu<3> for Project {
    fn compute<T: Element>(&self, inputs: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        match inputs[0].storage.dtype() {
            DType::F64 => over_images::<f64, f64>("project_f64", inputs),
            _ => over_images::<f32, f32>("project_f32", inputs),
        }
    }
}

/// Kernel `name` over images of elements S, with one array of as many elements O, and one element S
/// per image.
fn over_images<S: CudaDType + DeviceRepr, O: CudaDType>(
    name: &str,
    [image, other, each]: GpuInputs<'_, 3>,
) -> Result<CudaStorage> {
    let (device, count) = (image.storage.device(), image.count());
    let size = (count / each.count()) as u64;
    let mut out = room::<S>(device, count)?;
    launch!(
        device,
        name,
        per_element(count),
        &image.view::<S>()?,
        &other.view::<O>()?,
        &each.view::<S>()?,
        &size,
        &(count as u64),
        &mut out,
    );
    Ok(stored(out, device))
}

impl OnGpu<1> for L1Norm {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, images) = (x.storage.device(), x.dims()[0]);
        let size = x.count() / images;
        if images > 65535 {
            bail!("l1_norm_per_image: expected at most 65535 images on a GPU, found {images}");
        }
        let parts = size.div_ceil(256 * 16).clamp(1, 256);
        let mut sums = room::<f64>(device, images * parts)?;
        let mut out = room::<f32>(device, images)?;
        let blocks = grid([parts, images, 1]);
        launch!(device, "l1_norm_parts_f32", blocks, &x.view::<f32>()?, &(size as u64), &mut sums);
        launch!(device, "sum_parts", grid([images, 1, 1]), &sums, &(parts as u32), &mut out);
        Ok(stored(out, device))
    }
}
