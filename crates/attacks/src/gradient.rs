//! The gradient of an objective with respect to the image.

use candle_core::{DType, Tensor, Var};
use robustseg_ops::{PixelObjective, pixel_objective_per_image};

use crate::{Error, Model, Result, case};

/// An objective and its gradient, image by image.
#[derive(Clone, Debug)]
pub struct InputGradient {
    /// The objective's mean over each image's labelled pixels (N); 0 for an image without any.
    pub value: Tensor,
    /// The gradient of each image's value with respect to that image (N, 3, H, W), f32.
    pub gradient: Tensor,
}

/// The objective and its gradient at `image` (N, 3, H, W), f32 or f64 in `[0, 1]`, for `label` (N, H, W), u8.
///
/// Images do not influence each other as long as the model treats them apart (batch statistics do not).
pub fn input_gradient(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
) -> Result<InputGradient> {
    Ok(observe(model, image, label, objective)?.0)
}

/// [`input_gradient`], and the detached logits that it comes from.
pub(crate) fn observe(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
) -> Result<(InputGradient, Tensor)> {
    let rounded = if image.dtype() == DType::F64 { image.to_dtype(DType::F32)? } else { image.clone() };
    case::check(&rounded, label)?;
    let (found, logits) = unchecked(model, image, label, objective)?;
    finite("objective", &found.value.to_vec1()?)?;
    Ok((found, logits))
}

/// [`observe`] for input that is checked already. Callers check later that the values are [`finite`]: on a GPU they
/// enqueue what follows from the gradient before they wait for it.
pub(crate) fn unchecked(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
) -> Result<(InputGradient, Tensor)> {
    let image = image.detach();
    let variable = Var::from_tensor(&image.to_dtype(model.image_dtype())?)?;
    let logits = model.logits(variable.as_tensor())?;
    let value = pixel_objective_per_image(&logits, label, objective, model.alignment())?;
    let gradients = value.sum_all()?.backward()?;
    let gradient =
        gradients.get(variable.as_tensor()).ok_or(Error::NoGradient)?.to_dtype(DType::F32)?.contiguous()?;
    Ok((InputGradient { value: value.detach(), gradient }, logits.detach()))
}

/// Refuses values, one for each image, that are infinite or not a number.
pub(crate) fn finite(quantity: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite { quantity, index, value: values[index] }),
    }
}
