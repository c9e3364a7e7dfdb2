//! Where the kernel of a convolution goes over an image.

use crate::geometry::Geometry;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// [`Geometry`] of one image as kernels read it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Window {
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for Window {}

impl Window {
    /// The window of `g` on an image of `channels`.
    pub(super) fn new(g: &Geometry, channels: usize) -> Self {
        let [height, width, channels] = [g.input[0], g.input[1], channels].map(|size| size as u32);
        let [out_height, out_width, _] = g.output.map(|size| size as u32);
        let [kernel_height, kernel_width] = g.kernel.map(|size| size as u32);
        let [stride, padding, dilation] = [g.stride, g.padding, g.dilation].map(|size| size as u32);
        Self {
            height,
            width,
            channels,
            out_height,
            out_width,
            kernel_height,
            kernel_width,
            stride,
            padding,
            dilation,
        }
    }
}
