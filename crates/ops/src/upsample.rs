//! Bilinear upsampling, channels last.

use crate::cpu::{self, f32_slice, interpolation::Resize};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

/// Where the pixels of a map lie when it is brought to another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// Pixels are areas: centres at half integers (PyTorch's `align_corners=False`).
    #[default]
    HalfPixel,
    /// Pixels are points: the corners fall onto each other (PyTorch's `align_corners=True`).
    AlignCorners,
}

/// `x` (N, h, w, C) interpolated bilinearly to (N, `height`, `width`, C).
///
/// # Errors
/// If `x` does not have four axes or a size is 0.
pub fn upsample_bilinear(x: &Tensor, height: usize, width: usize, alignment: Alignment) -> Result<Tensor> {
    let (_, h, w, channels) = dims4("upsample_bilinear", "input (N, h, w, C)", x)?;
    error::dtype("upsample_bilinear", DType::F32, x)?;
    if height == 0 || width == 0 {
        candle_core::bail!("upsample_bilinear: expected a size of at least 1x1, found {height}x{width}");
    }
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    let resize = Resize { source: [h, w], target: [height, width], channels, alignment };
    x.contiguous()?.apply_op1(Upsample(resize))
}

struct Upsample(Resize);

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_bilinear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let Resize { target: [height, width], channels, .. } = self.0;
        let out = cpu::interpolation::resize(&self.0, f32_slice(x, xl)?);
        Ok((CpuStorage::F32(out), Shape::from((xl.dims()[0], height, width, channels))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        let Resize { target: [height, width], channels, .. } = self.0;
        let out = crate::cuda::upsample::resize(&self.0, x, xl)?;
        Ok((out, Shape::from((xl.dims()[0], height, width, channels))))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = UpsampleGradient(self.0.clone());
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&op)?))
    }
}

struct UpsampleGradient(Resize);

impl CustomOp1 for UpsampleGradient {
    fn name(&self) -> &'static str {
        "upsample_bilinear_gradient"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let Resize { source: [height, width], channels, .. } = self.0;
        let out = cpu::interpolation::resize_gradient(&self.0, f32_slice(gradient, gl)?);
        Ok((CpuStorage::F32(out), Shape::from((gl.dims()[0], height, width, channels))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, gradient: &CudaStorage, gl: &Layout) -> Result<(CudaStorage, Shape)> {
        let Resize { source: [height, width], channels, .. } = self.0;
        let out = crate::cuda::upsample::resize_gradient(&self.0, gradient, gl)?;
        Ok((out, Shape::from((gl.dims()[0], height, width, channels))))
    }
}
