//! The sizes of a bilinear interpolation.

use crate::resize::{Alignment, Resize};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// [`Resize`] as the kernels read it.
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
