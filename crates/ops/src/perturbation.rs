//! The arithmetic of sign-gradient attacks on images (N, 3, H, W) in `[0, 1]`, with one step size
//! per image.
//!
//! Images are f32, or f64 between the steps of an attack, so that they are rounded once and not at
//! every step.

use crate::adapter::run;
use crate::error::{self, dims4};
use crate::operation::Operation;
use candle_core::{DType, Result, Shape, Tensor};

/// `clip01(image + step[n] * sign(gradient))`, equations 3, 8 and 19. The sign of zero is zero.
///
/// `image` (N, C, H, W) and `step` (N) are both f32 or both f64, `gradient` (N, C, H, W) is f32. No
/// gradient flows through the result.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let image = Tensor::new(&[[[[0.25_f32, 0.5, 0.875]]]], &Device::Cpu)?;
/// let gradient = Tensor::new(&[[[[-3_f32, 0.0, 1.0]]]], &Device::Cpu)?;
/// let stepped = robustseg_ops::sign_step(&image, &gradient, &Tensor::new(&[0.25_f32], &Device::Cpu)?)?;
/// assert_eq!(stepped.flatten_all()?.to_vec1::<f32>()?, [0.0, 0.5, 1.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes or types do not fit.
pub fn sign_step(image: &Tensor, gradient: &Tensor, step: &Tensor) -> Result<Tensor> {
    check("sign_step", image, gradient, step)?;
    error::dtype("sign_step", DType::F32, gradient)?;
    run(SignStep, [image, gradient, step])
}

/// `image` projected onto the l-infinity ball of radius `epsilon[n]` around `origin`, then onto
/// `[0, 1]` (equation 4).
///
/// `image`, `origin` (N, C, H, W) and `epsilon` (N) are all f32 or all f64. No gradient flows
/// through the result.
///
/// # Errors
/// If the shapes or types do not fit.
pub fn project(image: &Tensor, origin: &Tensor, epsilon: &Tensor) -> Result<Tensor> {
    check("project", image, origin, epsilon)?;
    error::dtype("project", image.dtype(), origin)?;
    run(Project, [image, origin, epsilon])
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
    run(L1Norm, [x])
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

/// Of (image, gradient, step).
pub(crate) struct SignStep;

impl Operation<3> for SignStep {
    const NAME: &'static str = "sign_step";

    fn shape(&self, [image, ..]: [&Shape; 3]) -> Shape {
        image.clone()
    }
}

/// Of (image, origin, epsilon).
pub(crate) struct Project;

impl Operation<3> for Project {
    const NAME: &'static str = "project";

    fn shape(&self, [image, ..]: [&Shape; 3]) -> Shape {
        image.clone()
    }
}

pub(crate) struct L1Norm;

impl Operation<1> for L1Norm {
    const NAME: &'static str = "l1_norm_per_image";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        Shape::from(x.dims()[0])
    }
}
