//! Arithmetic on each channel: the entry into a network, biases, and the factors of channel
//! dropout.

use crate::adapter::{apply, run};
use crate::contiguous::contiguous;
use crate::error::{self, dims4};
use crate::operation::{Backward, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// The entry into a network: `(image - mean) / std` in each channel. `image` (N, C, H, W), f32 or
/// f64, becomes (N, H, W, C), f32. An f64 image is rounded once, here, and its gradient is f64 too.
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
    apply(Normalise { size: [height, width], mean: mean.to_vec(), std: std.to_vec() }, [image])
}

/// (N, C, H, W) to (N, H, W, C).
pub(crate) struct Normalise {
    /// Height and width.
    pub(crate) size: [usize; 2],
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
}

impl Operation<1> for Normalise {
    const NAME: &'static str = "normalise_image";

    fn shape(&self, [image]: [&Shape; 1]) -> Shape {
        Shape::from((image.dims()[0], self.size[0], self.size[1], self.mean.len()))
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        let gradient = run(NormaliseGradient(self), [backward.gradient])?;
        Ok([Some(gradient.to_dtype(backward.inputs[0].dtype())?)])
    }
}

/// (N, H, W, C) to (N, C, H, W).
pub(crate) struct NormaliseGradient<'a>(pub(crate) &'a Normalise);

impl Operation<1> for NormaliseGradient<'_> {
    const NAME: &'static str = "normalise_image_gradient";

    fn shape(&self, [gradient]: [&Shape; 1]) -> Shape {
        Shape::from((gradient.dims()[0], self.0.std.len(), self.0.size[0], self.0.size[1]))
    }
}

/// `x` (N, H, W, C) times `scale` (N, C). For channel dropout the caller draws `scale` as 0 or 1 /
/// keep rate. No gradient flows to `scale`.
///
/// # Errors
/// If the shapes do not fit.
pub fn scale_channels(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (images, _, _, channels) = dims4("scale_channels", "input (N, H, W, C)", x)?;
    if scale.dims() != [images, channels] {
        return Err(error::shape("scale_channels", format!("scale ({images}, {channels})"), scale));
    }
    apply(ScaleChannels, [x, &scale.detach()])
}

pub(crate) struct ScaleChannels;

impl Operation<2> for ScaleChannels {
    const NAME: &'static str = "scale_channels";

    fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let [_, scale] = backward.inputs;
        Ok([Some(run(ScaleChannels, [backward.gradient, scale])?), None])
    }
}

/// `x` (R, ...) times `scale` (R), f32: each row by a factor of its own. Both get gradients.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let scaled = robustseg_ops::scale_rows(&x, &Tensor::new(&[1_f32, 10.0], &Device::Cpu)?)?;
/// assert_eq!(scaled.to_vec2::<f32>()?, [[1.0, 2.0], [30.0, 40.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is not one factor for each row, or an element has another type.
pub fn scale_rows(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let rows = x.dims().first().copied().unwrap_or(0);
    if scale.dims() != [rows] {
        return Err(error::shape("scale_rows", format!("scale of {rows} elements"), scale));
    }
    error::dtype("scale_rows", DType::F32, x)?;
    error::dtype("scale_rows", DType::F32, scale)?;
    apply(ScaleRows, [x, scale])
}

/// (R, ...) times (R).
pub(crate) struct ScaleRows;

impl Operation<2> for ScaleRows {
    const NAME: &'static str = "scale_rows";

    fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let ([x, scale], gradient, [needs_x, needs_scale]) =
            (backward.inputs, backward.gradient, backward.needs);
        let of_x = needs_x.then(|| run(ScaleRows, [gradient, scale])).transpose()?;
        let of_scale = || {
            let products = (x.detach() * gradient)?.flatten_from(1)?;
            run(ColumnSum { channels: scale.elem_count() }, [&products.t()?])
        };
        Ok([of_x, needs_scale.then(of_scale).transpose()?])
    }
}

/// `x + bias`: adds `bias` (C), f32, along the last axis of `x` (..., C), f32 or on a GPU bf16.
///
/// # Errors
/// If `bias` does not have as many elements as the last axis of `x`, or an element has another type.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    if bias.dims() != [channels] {
        return Err(error::shape("add_bias", format!("bias of {channels} elements"), bias));
    }
    error::activation("add_bias", x)?;
    error::dtype("add_bias", DType::F32, bias)?;
    apply(AddBias, [x, bias])
}

pub(crate) struct AddBias;

impl Operation<2> for AddBias {
    const NAME: &'static str = "add_bias";

    fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let (gradient, [needs_x, needs_bias]) = (backward.gradient, backward.needs);
        let channels = backward.inputs[1].elem_count();
        let sum = needs_bias.then(|| run(ColumnSum { channels }, [gradient])).transpose()?;
        Ok([needs_x.then(|| gradient.clone()), sum])
    }
}

/// Sum over all axes but the last.
pub(crate) struct ColumnSum {
    pub(crate) channels: usize,
}

impl Operation<1> for ColumnSum {
    const NAME: &'static str = "column_sum";

    fn shape(&self, _: [&Shape; 1]) -> Shape {
        Shape::from(self.channels)
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        let shape = backward.inputs[0].shape();
        Ok([Some(contiguous(&backward.gradient.broadcast_as(shape)?)?)])
    }
}
