//! Tensors as files hold them, and as networks do.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::disk::{Disk, Numbers};

/// The tensor `name` of a file as f32 of `shape`; convolution weights become (O, KH, KW, I).
pub(crate) fn stored(file: &SafeTensors<'_>, name: &str, shape: &Shape, device: &Device) -> Result<Tensor> {
    let Ok(view) = file.tensor(name) else {
        bail!("tensor {name} is missing");
    };
    let values = checked(name, numbers(&view)?, (view.dtype(), view.shape()), shape)?;
    Tensor::from_vec(values, shape, device)
}

/// The values of [`stored`] from a file on the disk.
pub(crate) fn from_disk(file: &Disk, name: &str, shape: &Shape) -> Result<Vec<f32>> {
    let (Some((dtype, found)), Some(read)) = (file.about(name), file.read(name)?) else {
        bail!("tensor {name} is missing");
    };
    let values = match read {
        Numbers::Single(values) => Some(values),
        Numbers::Bytes(bytes) => {
            numbers(&TensorView::new(dtype, found.to_vec(), &bytes).map_err(candle_core::Error::wrap)?)?
        }
    };
    checked(name, values, (dtype, found), shape)
}

/// The values of the tensor `name` of `shape`, from those that a file has, of the type and shape
/// `found`.
fn checked(
    name: &str,
    values: Option<Vec<f32>>,
    found: (Dtype, &[usize]),
    shape: &Shape,
) -> Result<Vec<f32>> {
    let outside = outside_shape(shape.dims());
    let Some(mut values) = values.filter(|_| found.1 == outside) else {
        bail!("tensor {name}: expected f32 of shape {outside:?}, found {:?} of shape {:?}", found.0, found.1);
    };
    if !values.iter().all(|value| value.is_finite()) {
        bail!("tensor {name} holds values that are not finite");
    }
    if let [_, inputs, height, width] = outside[..] {
        turn_inside(&mut values, inputs, height * width);
    }
    Ok(values)
}

/// The numbers of the tensor `name` of a file, of any shape, if it has such a tensor of numbers that
/// become f32.
pub(crate) fn values(file: &SafeTensors<'_>, name: &str) -> Option<Vec<f32>> {
    numbers(&file.tensor(name).ok()?).ok()?
}

/// The numbers of a tensor as f32, if they are f32, f16, bf16 or f64.
fn numbers(view: &TensorView<'_>) -> Result<Option<Vec<f32>>> {
    let dtype = match view.dtype() {
        Dtype::F32 => {
            let (words, _) = view.data().as_chunks::<4>();
            return Ok(Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect()));
        }
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        _ => return Ok(None),
    };
    let values = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
    values.flatten_all()?.to_dtype(DType::F32)?.to_vec1().map(Some)
}

/// (O, KH, KW, I) to (O, I, KH, KW); other shapes stay.
pub(crate) fn outside_shape(inside: &[usize]) -> Vec<usize> {
    match *inside {
        [o, kh, kw, i] => vec![o, i, kh, kw],
        _ => inside.to_vec(),
    }
}

/// Convolution weights of a file as networks hold them: (O, I, KH, KW) to (O, KH, KW, I), in place,
/// because a second copy of the largest weights would be a good share of the memory of an evaluation.
fn turn_inside(weights: &mut [f32], inputs: usize, taps: usize) {
    if taps == 1 {
        return;
    }
    let mut old = vec![0.0; inputs * taps];
    for weights in weights.chunks_exact_mut((inputs * taps).max(1)) {
        old.copy_from_slice(weights);
        for (tap, weights) in weights.chunks_exact_mut(inputs).enumerate() {
            for (weight, taps) in weights.iter_mut().zip(old.chunks_exact(taps)) {
                *weight = taps[tap];
            }
        }
    }
}

/// A variable as files hold it: (O, KH, KW, I) to (O, I, KH, KW).
pub(crate) fn outside(inside: &Tensor) -> Result<Tensor> {
    match inside.rank() {
        4 => inside.permute((0, 3, 1, 2))?.contiguous(),
        _ => Ok(inside.clone()),
    }
}
