//! Per-channel arithmetic: entry into the network, and the scaling that channel dropout is.

use crate::cpu::{self, f32_slice, f64_slice};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

/// The network's entry: `image` (N, C, H, W), f32 or f64, to (N, H, W, C), f32, each channel minus its `mean` over its
/// `std`. From an f64 image the result is rounded once, here; its gradient is f64 too.
///
/// # Errors
/// If the image does not have as many channels as `mean` and `std`.
pub fn normalise_image(image: &Tensor, mean: &[f32], std: &[f32]) -> Result<Tensor> {
    let expected = format!("image (N, {}, H, W)", mean.len());
    let (_, channels, height, width) = dims4("normalise_image", &expected, image)?;
    if image.dtype() != DType::F64 {
        error::dtype("normalise_image", DType::F32, image)?;
    }
    if channels != mean.len() || channels != std.len() {
        return Err(error::shape("normalise_image", expected, image));
    }
    let op = Normalise { size: [height, width], mean: mean.to_vec(), std: std.to_vec() };
    image.contiguous()?.apply_op1(op)
}

struct Normalise {
    size: [usize; 2],
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl CustomOp1 for Normalise {
    fn name(&self) -> &'static str {
        "normalise_image"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let [height, width] = self.size;
        let pixels = height * width;
        let out = match x {
            CpuStorage::F64(_) => {
                cpu::elementwise::normalise(f64_slice(x, xl)?, pixels, &self.mean, &self.std)
            }
            _ => cpu::elementwise::normalise(f32_slice(x, xl)?, pixels, &self.mean, &self.std),
        };
        Ok((CpuStorage::F32(out), Shape::from((xl.dims()[0], height, width, self.mean.len()))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        let [height, width] = self.size;
        let out = crate::cuda::elementwise::normalise(x, xl, &self.mean, &self.std)?;
        Ok((out, Shape::from((xl.dims()[0], height, width, self.mean.len()))))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = NormaliseGradient { size: self.size, std: &self.std };
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&op)?.to_dtype(x.dtype())?))
    }
}

struct NormaliseGradient<'a> {
    size: [usize; 2],
    std: &'a [f32],
}

impl CustomOp1 for NormaliseGradient<'_> {
    fn name(&self) -> &'static str {
        "normalise_image_gradient"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let [height, width] = self.size;
        let gradient = f32_slice(gradient, gl)?;
        let out = cpu::elementwise::normalise_gradient(gradient, height * width, self.std);
        Ok((CpuStorage::F32(out), Shape::from((gl.dims()[0], self.std.len(), height, width))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, gradient: &CudaStorage, gl: &Layout) -> Result<(CudaStorage, Shape)> {
        let [height, width] = self.size;
        let out = crate::cuda::elementwise::normalise_gradient(gradient, gl, self.std)?;
        Ok((out, Shape::from((gl.dims()[0], self.std.len(), height, width))))
    }
}

/// `x` (N, H, W, C) times `scale` (N, C): channel dropout, with `scale` drawn by the caller as 0 or 1 / keep rate.
/// No gradient flows to `scale`.
///
/// # Errors
/// If the shapes do not fit.
pub fn scale_channels(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (images, _, _, channels) = dims4("scale_channels", "input (N, H, W, C)", x)?;
    if scale.dims() != [images, channels] {
        return Err(error::shape("scale_channels", format!("scale ({images}, {channels})"), scale));
    }
    x.contiguous()?.apply_op2(&scale.contiguous()?.detach(), ScaleChannels)
}

struct ScaleChannels;

impl CustomOp2 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        scale: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let images = xl.dims()[0];
        let out = cpu::elementwise::scale_channels(f32_slice(x, xl)?, f32_slice(scale, sl)?, images);
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        scale: &CudaStorage,
        sl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, elementwise::scale_channels};
        Ok((by_element!(x, scale_channels(x, xl, scale, sl))?, xl.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        scale: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.contiguous()?.apply_op2_no_bwd(scale, &ScaleChannels)?), None))
    }
}
