//! Files of probabilities.

use candle_core::Tensor;
use clap::ValueEnum;

/// A format of files of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A tensor `probabilities` in a safetensors file.
    Safetensors,
    /// `NumPy`'s format of one array.
    Npy,
}

impl Format {
    /// The ending of its files.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
        }
    }

    /// The file of `probabilities` (1, H, W, K), as (K, H, W) of f32.
    pub(super) fn file(self, probabilities: &Tensor) -> anyhow::Result<Vec<u8>> {
        let classes = probabilities.squeeze(0)?.permute((2, 0, 1))?.contiguous()?;
        let shape = classes.dims().to_vec();
        let values = classes.flatten_all()?.to_vec1::<f32>()?;
        let data: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        match self {
            Self::Npy => Ok([npy_header(&shape), data].concat()),
            Self::Safetensors => {
                let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &data)?;
                Ok(safetensors::serialize([("probabilities", view)], None)?)
            }
        }
    }
}

/// The beginning of a file of little-endian f32 in C order: magic, version 1.0, and the description
/// as a Python literal, padded to 64 bytes.
fn npy_header(shape: &[usize]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", sides.join(", "));
    let before = 10;
    while (before + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn probabilities_are_classes_by_rows_by_columns() {
        // Two classes, one row, three columns.
        let values = Tensor::new(&[[[[0.25_f32, 0.75], [0.5, 0.5], [1.0, 0.0]]]], &Device::Cpu).unwrap();
        let expected: Vec<u8> =
            [0.25_f32, 0.5, 1.0, 0.75, 0.5, 0.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let npy = Format::Npy.file(&values).unwrap();
        assert!(npy.len() == 128 + 24 && npy.ends_with(&expected));
        let head = String::from_utf8_lossy(&npy[10..128]).into_owned();
        assert!(
            head.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3,), }"),
            "{head}"
        );
        let file = Format::Safetensors.file(&values).unwrap();
        let read = safetensors::SafeTensors::deserialize(&file).unwrap();
        let tensor = read.tensor("probabilities").unwrap();
        assert_eq!((tensor.shape(), tensor.data()), (&[2, 1, 3][..], &expected[..]));
    }
}
