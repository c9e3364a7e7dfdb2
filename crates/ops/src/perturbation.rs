//! The arithmetic of sign-gradient attacks on images (N, 3, H, W) in `[0, 1]`, one step size an image.
//!
//! Images are f32, or f64 between the steps of an attack, so that they are rounded once and not at every step.

use crate::cpu::{self, f32_slice, f64_slice};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor};

/// `clip01(image + step[n] * sign(gradient))`, equations 3, 8 and 19; the sign of zero is zero.
///
/// `image` (N, C, H, W) and `step` (N), both f32 or both f64, `gradient` (N, C, H, W), f32. No gradient flows through
/// the result.
///
/// # Errors
/// If the shapes or types do not fit.
pub fn sign_step(image: &Tensor, gradient: &Tensor, step: &Tensor) -> Result<Tensor> {
    check("sign_step", image, gradient, step)?;
    error::dtype("sign_step", DType::F32, gradient)?;
    image.contiguous()?.apply_op3_no_bwd(&gradient.contiguous()?, &step.contiguous()?, &SignStep)
}

/// `image` projected onto the l-infinity ball of radius `epsilon[n]` around `origin`, then onto `[0, 1]`
/// (equation 4).
///
/// `image`, `origin` (N, C, H, W) and `epsilon` (N), all f32 or all f64. No gradient flows through the result.
///
/// # Errors
/// If the shapes or types do not fit.
pub fn project(image: &Tensor, origin: &Tensor, epsilon: &Tensor) -> Result<Tensor> {
    check("project", image, origin, epsilon)?;
    error::dtype("project", image.dtype(), origin)?;
    image.contiguous()?.apply_op3_no_bwd(&origin.contiguous()?, &epsilon.contiguous()?, &Project)
}

/// Sum of the absolute values of each image's elements, (N, ...) to (N).
///
/// # Errors
/// If `x` has no elements.
pub fn l1_norm_per_image(x: &Tensor) -> Result<Tensor> {
    error::dtype("l1_norm_per_image", DType::F32, x)?;
    if x.elem_count() == 0 {
        return Err(error::shape("l1_norm_per_image", "at least one element", x));
    }
    x.contiguous()?.apply_op1_no_bwd(&L1Norm)
}

fn check(operation: &'static str, image: &Tensor, other: &Tensor, step: &Tensor) -> Result<()> {
    let (images, ..) = dims4(operation, "images (N, C, H, W)", image)?;
    let dtype = if image.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    for tensor in [image, step] {
        error::dtype(operation, dtype, tensor)?;
    }
    if other.dims() != image.dims() {
        return Err(error::shape(operation, format!("shape {:?}", image.dims()), other));
    }
    if step.dims() != [images] {
        return Err(error::shape(operation, format!("one step for each of {images} images"), step));
    }
    Ok(())
}

struct SignStep;

impl CustomOp3 for SignStep {
    fn name(&self) -> &'static str {
        "sign_step"
    }

    fn cpu_fwd(
        &self,
        image: &CpuStorage,
        il: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
        step: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gradient = f32_slice(gradient, gl)?;
        let out = if let CpuStorage::F64(_) = image {
            let (image, step) = (f64_slice(image, il)?, f64_slice(step, sl)?);
            CpuStorage::F64(cpu::elementwise::sign_step(image, gradient, step))
        } else {
            let (image, step) = (f32_slice(image, il)?, f32_slice(step, sl)?);
            CpuStorage::F32(cpu::elementwise::sign_step(image, gradient, step))
        };
        Ok((out, il.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        image: &CudaStorage,
        il: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
        step: &CudaStorage,
        sl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let out = crate::cuda::elementwise::sign_step(image, il, gradient, gl, step, sl)?;
        Ok((out, il.shape().clone()))
    }
}

struct Project;

impl CustomOp3 for Project {
    fn name(&self) -> &'static str {
        "project"
    }

    fn cpu_fwd(
        &self,
        image: &CpuStorage,
        il: &Layout,
        origin: &CpuStorage,
        ol: &Layout,
        epsilon: &CpuStorage,
        el: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = if let CpuStorage::F64(_) = image {
            let (image, origin) = (f64_slice(image, il)?, f64_slice(origin, ol)?);
            CpuStorage::F64(cpu::elementwise::project(image, origin, f64_slice(epsilon, el)?))
        } else {
            let (image, origin) = (f32_slice(image, il)?, f32_slice(origin, ol)?);
            CpuStorage::F32(cpu::elementwise::project(image, origin, f32_slice(epsilon, el)?))
        };
        Ok((out, il.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        image: &CudaStorage,
        il: &Layout,
        origin: &CudaStorage,
        ol: &Layout,
        epsilon: &CudaStorage,
        el: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let out = crate::cuda::elementwise::project(image, il, origin, ol, epsilon, el)?;
        Ok((out, il.shape().clone()))
    }
}

struct L1Norm;

impl CustomOp1 for L1Norm {
    fn name(&self) -> &'static str {
        "l1_norm_per_image"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let images = xl.dims()[0];
        let out = cpu::elementwise::l1_norm(f32_slice(x, xl)?, images);
        Ok((CpuStorage::F32(out), Shape::from(images)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::elementwise::l1_norm(x, xl)?, Shape::from(xl.dims()[0])))
    }
}
