//! The gradient of an objective with respect to the image.

use candle_core::{DType, Tensor, Var};
use robustseg_ops::{
    Alignment, Pass, PixelObjective, Tape, pixel_objective_per_image, set_balanced_objective_per_image,
};

use crate::{Error, Model, Result, case, repeated};

/// An objective and its gradient, image by image.
#[derive(Clone, Debug)]
pub struct InputGradient {
    /// The objective's mean over each image's labelled pixels (N). It is 0 for an image without
    /// labelled pixels.
    pub value: Tensor,
    /// The gradient of each image's value with respect to that image (N, 3, H, W), f32.
    pub gradient: Tensor,
}

/// The objective and its gradient at `image` (N, 3, H, W), f32 or f64 in `[0, 1]`, for `label` (N,
/// H, W), u8.
///
/// Images do not influence each other unless the model makes them, for example through batch
/// statistics.
pub fn input_gradient(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
) -> Result<InputGradient> {
    Ok(observe(model, image, label, Objective::Of(objective))?.0)
}

/// What an attack differentiates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Objective<'a> {
    /// An objective at each pixel.
    Of(PixelObjective),
    /// [`set_balanced_objective_per_image`] with these pixels of each class.
    BalancedOver(&'a [u64]),
}

impl Objective<'_> {
    /// Tells the objectives apart.
    fn name(self) -> String {
        match self {
            Self::Of(objective) => format!("{objective:?}"),
            Self::BalancedOver(pixels) => format!("MaskedCrossEntropy balanced over {pixels:?}"),
        }
    }

    /// One value (N) per image.
    fn value(self, logits: &Tensor, label: &Tensor, alignment: Alignment) -> candle_core::Result<Tensor> {
        match self {
            Self::Of(objective) => pixel_objective_per_image(logits, label, objective, alignment),
            Self::BalancedOver(pixels) => set_balanced_objective_per_image(logits, label, pixels, alignment),
        }
    }
}

/// [`input_gradient`] together with the detached logits.
pub(crate) fn observe(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: Objective<'_>,
) -> Result<(InputGradient, Tensor)> {
    let rounded = if image.dtype() == DType::F64 { image.to_dtype(DType::F32)? } else { image.clone() };
    case::check(&rounded, label)?;
    let (found, logits) = repeated_gradient(model, image, label, objective)?;
    finite("objective", &found.value.to_vec1()?)?;
    Ok((found, logits))
}

/// [`input_gradient`] for input that was checked already, together with the detached logits.
/// Callers check that the values are [`finite`] later: on a GPU they first enqueue the operations
/// that use the gradient, and only then wait for it.
pub(crate) fn unchecked(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
) -> Result<(InputGradient, Tensor)> {
    repeated_gradient(model, image, label, Objective::Of(objective))
}

fn repeated_gradient(
    model: &dyn Model,
    image: &Tensor,
    label: &Tensor,
    objective: Objective<'_>,
) -> Result<(InputGradient, Tensor)> {
    let compute = |model: &dyn Model, inputs: &[Tensor]| {
        let of_logits = |logits: &Tensor| objective.value(logits, &inputs[1], model.alignment());
        match slope(model, &inputs[0], of_logits) {
            Ok((found, logits)) => Ok(vec![found.value, found.gradient, logits]),
            Err(Error::NoGradient) => Ok(Vec::new()),
            Err(Error::Candle(error)) => Err(error),
            Err(error) => Err(candle_core::Error::wrap(error)),
        }
    };
    let name = format!("gradient of {}", objective.name());
    let pass = Pass { name: &name, inputs: &[image, label], overwritten: &[] };
    let found = repeated(model, &pass, &compute)?;
    let [value, gradient, logits] = <[Tensor; 3]>::try_from(found).map_err(|_| Error::NoGradient)?;
    Ok((InputGradient { value, gradient }, logits))
}

/// [`unchecked`] for any objective of the logits, one value (N) per image. A GPU does not repeat it.
pub(crate) fn slope(
    model: &dyn Model,
    image: &Tensor,
    objective: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<(InputGradient, Tensor)> {
    gradient_of(model, image, |logits| Ok((objective(logits)?, logits.detach())))
}

/// The gradient of an `objective` of one's own at `image` (N, 3, H, W).
///
/// The objective maps the model's logits (N, h, w, K) to one value per image (N), differentiable,
/// and to anything else that the caller wants of them. Cost: one forward and one backward pass. The
/// caller checks labels and values.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_attacks::{channels_first, gradient_of};
///
/// let model = channels_first(|image: &Tensor| image.affine(4.0, 0.0));
/// let image = Tensor::rand(0_f32, 1.0, (2, 3, 4, 5), &Device::Cpu)?;
/// let sum = |logits: &Tensor| Ok((logits.flatten_from(1)?.sum(1)?, logits.dims().to_vec()));
/// let (found, dims) = gradient_of(&model, &image, sum)?;
/// assert_eq!(found.gradient.flatten_all()?.to_vec1::<f32>()?, [4.0; 120]);
/// assert_eq!(dims, [2, 4, 5, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The errors of `model` and `objective`, and [`Error::NoGradient`] if the value does not depend on
/// the image.
pub fn gradient_of<T>(
    model: &dyn Model,
    image: &Tensor,
    objective: impl FnOnce(&Tensor) -> Result<(Tensor, T)>,
) -> Result<(InputGradient, T)> {
    let image = image.detach();
    let variable = Var::from_tensor(&image.to_dtype(model.image_dtype())?)?;
    let tape = Tape::start();
    let logits = model.logits(variable.as_tensor())?;
    let (value, other) = objective(&logits)?;
    drop(logits);
    let gradient = tape.backward(&value)?.remove(variable.as_tensor()).ok_or(Error::NoGradient)?;
    let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
    Ok((InputGradient { value: value.detach(), gradient }, other))
}

/// Refuses values, one per image, that are infinite or NaN.
pub(crate) fn finite(quantity: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite { quantity, index, value: values[index] }),
    }
}
