//! The input of an attack: a model, and images with their labels.

use candle_core::{DType, Tensor};

use crate::{Error, Model, Result};

/// A model and the images to attack.
///
/// Shapes, types and ranges are checked once, when the case is created.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use robustseg_attacks::{Case, channels_first};
///
/// let model = channels_first(|image: &Tensor| Ok(image.clone()));
/// let image = Tensor::full(0.5_f32, (2, 3, 4, 5), &Device::Cpu)?;
/// let label = Tensor::zeros((2, 4, 5), DType::U8, &Device::Cpu)?;
/// assert_eq!(Case::new(&model, &image, &label)?.len(), 2);
/// assert!(Case::new(&model, &(image * 255.0)?, &label).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Case<'a> {
    model: &'a dyn Model,
    image: &'a Tensor,
    label: &'a Tensor,
    class_pixels: Option<&'a [u64]>,
}

impl<'a> Case<'a> {
    /// Attacks `model` on `image` (N, 3, H, W), f32 in `[0, 1]`, with `label` (N, H, W), u8, where
    /// 255 marks pixels without a label.
    ///
    /// # Errors
    /// [`Error::Input`] if a type, shape or range is wrong.
    pub fn new(model: &'a dyn Model, image: &'a Tensor, label: &'a Tensor) -> Result<Self> {
        check(image, label)?;
        Ok(Self { model, image, label, class_pixels: None })
    }

    /// The same case, with the number of labelled pixels of each class in the dataset that the
    /// images come from. An attack that [weighs classes](crate::Attack::needs_class_pixels) by the
    /// dataset needs them.
    #[must_use]
    pub fn with_class_pixels(self, class_pixels: &'a [u64]) -> Self {
        Self { class_pixels: Some(class_pixels), ..self }
    }

    /// The model.
    pub fn model(&self) -> &'a dyn Model {
        self.model
    }

    /// The images (N, 3, H, W), f32 in `[0, 1]`.
    pub fn image(&self) -> &'a Tensor {
        self.image
    }

    /// The labels (N, H, W), u8.
    pub fn label(&self) -> &'a Tensor {
        self.label
    }

    /// The number of labelled pixels of each class in the dataset, if it is known.
    pub fn class_pixels(&self) -> Option<&'a [u64]> {
        self.class_pixels
    }

    /// The number of images.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.image.dims()[0]
    }

    /// The model's logits (N, h, w, K) for `image` (N, 3, H, W), without a gradient.
    ///
    /// # Errors
    /// If the model fails.
    pub fn logits(&self, image: &Tensor) -> Result<Tensor> {
        Ok(self.model.logits(&image.to_dtype(self.model.image_dtype())?)?.detach())
    }

    /// A tensor (N), f32, that holds `value` for each image.
    pub(crate) fn for_each_image(&self, value: f64) -> Result<Tensor> {
        Ok(Tensor::full(value as f32, self.len(), self.image.device())?)
    }
}

/// Accepts images (N, 3, H, W), f32 in `[0, 1]`, with labels (N, H, W), u8.
pub(crate) fn check(image: &Tensor, label: &Tensor) -> Result<()> {
    if image.dtype() != DType::F32 {
        return refuse("image", "type f32", format!("{:?}", image.dtype()));
    }
    let &[count, 3, height, width] = image.dims() else {
        return refuse("image", "shape (N, 3, H, W)", format!("{:?}", image.dims()));
    };
    if image.elem_count() == 0 {
        return refuse("image", "at least one pixel", format!("{:?}", image.dims()));
    }
    if label.dtype() != DType::U8 {
        return refuse("label", "type u8", format!("{:?}", label.dtype()));
    }
    if label.dims() != [count, height, width] {
        let expected = format!("shape {:?} to go with the image", [count, height, width]);
        return refuse("label", &expected, format!("{:?}", label.dims()));
    }
    let image = image.detach();
    let inside = (image.ge(0.0)? * image.le(1.0)?)?;
    if inside.min_all()?.to_scalar::<u8>()? == 0 {
        let low = image.min_all()?.to_scalar::<f32>()?;
        let high = image.max_all()?.to_scalar::<f32>()?;
        return refuse("image", "values in [0, 1]", format!("values in [{low}, {high}]"));
    }
    Ok(())
}

fn refuse<T>(what: &'static str, expected: &str, actual: String) -> Result<T> {
    Err(Error::Input { what, expected: expected.into(), actual })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn message(image: &Tensor, label: &Tensor) -> String {
        check(image, label).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_of_bad_input_is_named() -> Result<()> {
        let device = &Device::Cpu;
        let image = Tensor::full(0.5_f32, (2, 3, 4, 5), device)?;
        let label = Tensor::zeros((2, 4, 5), DType::U8, device)?;
        check(&image, &label)?;
        assert!(message(&image.to_dtype(DType::F64)?, &label).contains("f32"));
        assert!(message(&image.permute((0, 2, 3, 1))?, &label).contains("[2, 4, 5, 3]"));
        assert!(message(&image, &label.to_dtype(DType::U32)?).contains("u8"));
        assert!(message(&image, &label.transpose(1, 2)?).contains("expected shape [2, 4, 5]"));
        assert!(message(&(&image * 255.0)?, &label).contains("values in [127.5, 127.5]"));
        let broken = Tensor::full(f32::NAN, (2, 3, 4, 5), device)?;
        assert!(message(&broken, &label).contains("values in [0, 1]"));
        let empty = Tensor::zeros((0, 3, 4, 5), DType::F32, device)?;
        assert!(message(&empty, &label).contains("at least one pixel"));
        Ok(())
    }
}
