//! Bilinear upsampling, channels last.

use crate::adapter::{apply, run};
use crate::error::{self, dims4};
use crate::operation::{Backward, Operation};
use crate::resize::{Alignment, Resize};
use candle_core::{Result, Shape, Tensor};

/// `x` (N, h, w, C), f32 or on a GPU bf16, interpolated bilinearly to (N, `height`, `width`, C).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Alignment, upsample_bilinear};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[[[0_f32], [2.0]]]], &Device::Cpu)?;
/// let y = upsample_bilinear(&x, 1, 3, Alignment::AlignCorners)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0, 1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `x` does not have four axes, a size is 0, or the elements have another type.
pub fn upsample_bilinear(x: &Tensor, height: usize, width: usize, alignment: Alignment) -> Result<Tensor> {
    let (_, h, w, channels) = dims4("upsample_bilinear", "input (N, h, w, C)", x)?;
    error::activation("upsample_bilinear", x)?;
    if height == 0 || width == 0 {
        candle_core::bail!("upsample_bilinear: expected a size of at least 1x1, found {height}x{width}");
    }
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    apply(Upsample(Resize { source: [h, w], target: [height, width], channels, alignment }), [x])
}

/// `residual + upsample_bilinear(x)`, at the size of `residual` (N, H, W, C), which writes the
/// output once.
///
/// # Errors
/// If the shapes or types do not fit.
pub fn upsample_bilinear_add(x: &Tensor, residual: &Tensor, alignment: Alignment) -> Result<Tensor> {
    const NAME: &str = "upsample_bilinear_add";
    let (images, h, w, channels) = dims4(NAME, "input (N, h, w, C)", x)?;
    let (residual_images, height, width, residual_channels) = dims4(NAME, "residual (N, H, W, C)", residual)?;
    error::activation(NAME, x)?;
    error::dtype(NAME, x.dtype(), residual)?;
    if (residual_images, residual_channels) != (images, channels) {
        return Err(error::shape(NAME, format!("residual ({images}, H, W, {channels})"), residual));
    }
    apply(Upsample(Resize { source: [h, w], target: [height, width], channels, alignment }), [x, residual])
}

/// (N, h, w, C) to (N, H, W, C), alone or added to a map of the latter shape.
pub(crate) struct Upsample(pub(crate) Resize);

impl Operation<1> for Upsample {
    const NAME: &'static str = "upsample_bilinear";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        let Resize { target: [height, width], channels, .. } = self.0;
        Shape::from((x.dims()[0], height, width, channels))
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(run(UpsampleGradient(self.0), [backward.gradient])?)])
    }
}

impl Operation<2> for Upsample {
    const NAME: &'static str = "upsample_bilinear_add";

    fn shape(&self, [_, residual]: [&Shape; 2]) -> Shape {
        residual.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let (gradient, [needs_x, needs_residual]) = (backward.gradient, backward.needs);
        let x = needs_x.then(|| run(UpsampleGradient(self.0), [gradient])).transpose()?;
        Ok([x, needs_residual.then(|| gradient.clone())])
    }
}

/// The transpose of [`Upsample`].
pub(crate) struct UpsampleGradient(pub(crate) Resize);

impl Operation<1> for UpsampleGradient {
    const NAME: &'static str = "upsample_bilinear_gradient";

    fn shape(&self, [gradient]: [&Shape; 1]) -> Shape {
        let Resize { source: [height, width], channels, .. } = self.0;
        Shape::from((gradient.dims()[0], height, width, channels))
    }
}
