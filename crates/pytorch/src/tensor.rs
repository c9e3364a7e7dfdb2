//! Tensors of a file, and the numbers behind them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::dtype::Dtype;
use crate::fault::{Checked, Fault};
use crate::layout::Layout;

/// Bytes that are read at once; a multiple of the size of every number.
const PIECE: u64 = 1 << 16;

/// A tensor that a file describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub(crate) dtype: Dtype,
    pub(crate) layout: Layout,
    /// The name of its storage.
    pub(crate) storage: String,
}

impl TensorInfo {
    /// The type of its numbers.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its size along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }
}

/// Where a file holds a storage.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// The CRC-32 of all bytes, if the file has one.
    pub(crate) crc: Option<u32>,
}

impl Place {
    /// Compares the content with its CRC-32.
    pub(crate) fn check(&self, file: &mut File) -> Checked<()> {
        let Some(expected) = self.crc else { return Ok(()) };
        let mut crc = crc32fast::Hasher::new();
        pieces(file, self.start, self.length, |piece| crc.update(piece))?;
        if crc.finalize() == expected {
            return Ok(());
        }
        Err(Fault::Format("is damaged: its numbers do not have their CRC-32; take another copy of it".into()))
    }

    /// The numbers of `tensor`, whose storage is here, in the order of its elements.
    pub(crate) fn read(&self, file: &mut File, tensor: &TensorInfo) -> Checked<Vec<f32>> {
        let (first, end) = tensor.layout.span();
        let size = tensor.dtype.size() as u64;
        let mut numbers = Vec::with_capacity((end - first) as usize);
        let (start, length) = (self.start + first * size, (end - first) * size);
        pieces(file, start, length, |piece| tensor.dtype.append(piece, &mut numbers))?;
        if tensor.layout.is_contiguous() { Ok(numbers) } else { Ok(tensor.layout.gather(&numbers)) }
    }
}

fn pieces(file: &mut File, start: u64, length: u64, mut take: impl FnMut(&[u8])) -> Checked<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut buffer = vec![0; PIECE.min(length) as usize];
    let mut left = length;
    while left > 0 {
        let piece = &mut buffer[..left.min(PIECE) as usize];
        file.read_exact(piece)?;
        take(piece);
        left -= piece.len() as u64;
    }
    Ok(())
}
