//! Types of numbers.

use half::{bf16, f16};

/// A type of numbers that tensors hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// `torch.float64`
    F64,
    /// `torch.float32`
    F32,
    /// `torch.float16`
    F16,
    /// `torch.bfloat16`
    BF16,
    /// `torch.int64`
    I64,
    /// `torch.int32`
    I32,
    /// `torch.int16`
    I16,
    /// `torch.int8`
    I8,
    /// `torch.uint8`
    U8,
    /// `torch.bool`
    Bool,
}

impl Dtype {
    /// The type of the storage class `name` of the module `torch`.
    pub(crate) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "torch.DoubleStorage" => Self::F64,
            "torch.FloatStorage" => Self::F32,
            "torch.HalfStorage" => Self::F16,
            "torch.BFloat16Storage" => Self::BF16,
            "torch.LongStorage" => Self::I64,
            "torch.IntStorage" => Self::I32,
            "torch.ShortStorage" => Self::I16,
            "torch.CharStorage" => Self::I8,
            "torch.ByteStorage" => Self::U8,
            "torch.BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// Whether the type has fractions, as weights need.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The numbers in `bytes`, little-endian, as f32.
    ///
    /// ```
    /// use robustseg_pytorch::Dtype;
    /// assert_eq!(Dtype::F16.numbers(&[0x00, 0x3c, 0x00, 0xc0]), [1.0, -2.0]);
    /// ```
    pub fn numbers(self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(bytes.len() / self.size());
        self.append(bytes, &mut numbers);
        numbers
    }

    /// Appends the numbers in `bytes`, little-endian, to `numbers`.
    pub(crate) fn append(self, bytes: &[u8], numbers: &mut Vec<f32>) {
        match self {
            Self::F64 => numbers.extend(words(bytes).map(|word| f64::from_le_bytes(word) as f32)),
            Self::F32 => numbers.extend(words(bytes).map(f32::from_le_bytes)),
            Self::F16 => numbers.extend(words(bytes).map(|word| f16::from_le_bytes(word).to_f32())),
            Self::BF16 => numbers.extend(words(bytes).map(|word| bf16::from_le_bytes(word).to_f32())),
            Self::I64 => numbers.extend(words(bytes).map(|word| i64::from_le_bytes(word) as f32)),
            Self::I32 => numbers.extend(words(bytes).map(|word| i32::from_le_bytes(word) as f32)),
            Self::I16 => numbers.extend(words(bytes).map(|word| f32::from(i16::from_le_bytes(word)))),
            Self::I8 => numbers.extend(words(bytes).map(|word| f32::from(i8::from_le_bytes(word)))),
            Self::U8 | Self::Bool => numbers.extend(bytes.iter().map(|byte| f32::from(*byte))),
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
