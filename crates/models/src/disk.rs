//! Tensors that are read from the disk one at a time, so that a network of any size is in memory once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use safetensors::{Dtype, SafeTensors};

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// A tensor's numbers, or its bytes if they are no f32.
pub(crate) enum Numbers {
    Single(Vec<f32>),
    Bytes(Vec<u8>),
}

/// The places of tensors in an open safetensors file.
pub(crate) struct Disk {
    file: File,
    tensors: HashMap<String, (Dtype, Vec<usize>, Range<u64>)>,
}

impl Disk {
    /// The tensors of `file`, whose content was `bytes` and is a safetensors file.
    pub(crate) fn new(file: File, bytes: &[u8]) -> Option<Self> {
        let (header, layout) = SafeTensors::read_metadata(bytes).ok()?;
        let start = header as u64 + 8;
        let tensors = layout.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            (name, (info.dtype, info.shape.clone(), start + from as u64..start + to as u64))
        });
        Some(Self { file, tensors: tensors.collect() })
    }

    /// Type and shape of the tensor `name`.
    pub(crate) fn about(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors.get(name).map(|(dtype, shape, _)| (*dtype, &shape[..]))
    }

    /// The numbers of the tensor `name`.
    pub(crate) fn read(&self, name: &str) -> std::io::Result<Option<Numbers>> {
        let Some((dtype, _, place)) = self.tensors.get(name) else { return Ok(None) };
        let length = (place.end - place.start) as usize;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place.start))?;
        if *dtype != Dtype::F32 {
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            return Ok(Some(Numbers::Bytes(bytes)));
        }
        let (mut numbers, mut piece) = (Vec::with_capacity(length / 4), vec![0; PIECE]);
        while numbers.len() < length / 4 {
            let piece = &mut piece[..PIECE.min(length - 4 * numbers.len())];
            file.read_exact(piece)?;
            let (words, _) = piece.as_chunks::<4>();
            numbers.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        }
        Ok(Some(Numbers::Single(numbers)))
    }
}
