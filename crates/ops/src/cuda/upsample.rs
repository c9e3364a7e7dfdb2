//! Bilinear upsampling.

use super::{launch, per_element, room, stored, view};
use crate::Alignment;
use crate::cpu::interpolation::Resize;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaStorage, Layout, Result};

/// [`Resize`] as the kernels have it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    source_height: u32,
    source_width: u32,
    height: u32,
    width: u32,
    channels: u32,
    aligned: u32,
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for Sizes {}

impl From<&Resize> for Sizes {
    fn from(resize: &Resize) -> Self {
        let [source_height, source_width] = resize.source.map(|size| size as u32);
        let [height, width] = resize.target.map(|size| size as u32);
        let aligned = u32::from(resize.alignment == Alignment::AlignCorners);
        Self { source_height, source_width, height, width, channels: resize.channels as u32, aligned }
    }
}

/// (N, h, w, C) to (N, H, W, C).
pub(crate) fn resize(r: &Resize, x: &CudaStorage, xl: &Layout) -> Result<CudaStorage> {
    sweep("upsample_f32", r, x, xl, r.target)
}

/// The transpose of [`resize`]: (N, H, W, C) to (N, h, w, C).
pub(crate) fn resize_gradient(r: &Resize, gradient: &CudaStorage, gl: &Layout) -> Result<CudaStorage> {
    sweep("upsample_gradient_f32", r, gradient, gl, r.source)
}

fn sweep(
    name: &str,
    r: &Resize,
    x: &CudaStorage,
    xl: &Layout,
    [height, width]: [usize; 2],
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), xl.dims()[0] * height * width * r.channels);
    let mut out = room::<f32>(device, count)?;
    let x = view::<f32>(x, xl)?;
    launch!(device, name, per_element(count), &x, &Sizes::from(r), &(count as u64), &mut out);
    Ok(stored(out, device))
}
