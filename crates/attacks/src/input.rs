//! Checks on images and labels before an attack runs.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// Accepts images (N, 3, H, W), f32 in `[0, 1]`, with labels (N, H, W), u8; returns N.
pub(crate) fn check(image: &Tensor, label: &Tensor) -> Result<usize> {
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
    Ok(count)
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
        assert_eq!(check(&image, &label)?, 2);
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
