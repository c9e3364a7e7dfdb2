//! A safetensors file as a source of weights.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use robustseg_files::sealed::{Sealed, read};
use robustseg_pytorch::Dtype;
use safetensors::SafeTensors;

/// The tensors of a safetensors file.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    bytes: Vec<u8>,
    tensors: BTreeMap<String, (Dtype, Range<usize>)>,
    pub(crate) shapes: BTreeMap<String, Vec<usize>>,
    /// Names of tensors whose types of numbers are not known here.
    pub(crate) unknown: Vec<String>,
}

impl SafetensorsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The fault, as the end of a sentence that begins with the file's name.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let bytes = read(path)?;
        let Sealed { metadata, .. } = Sealed::parse(&bytes)?;
        if metadata.contains_key("model") {
            return Err("is already a checkpoint of robustseg; the other commands take it directly".into());
        }
        let (header, layout) = SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
        let start = header + 8;
        let (mut tensors, mut shapes, mut unknown) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, info) in layout.tensors() {
            let Some(dtype) = dtype(info.dtype) else {
                unknown.push(name);
                continue;
            };
            let (from, to) = info.data_offsets;
            tensors.insert(name.clone(), (dtype, start + from..start + to));
            shapes.insert(name, info.shape.clone());
        }
        Ok(Self { bytes, tensors, shapes, unknown })
    }

    /// The type of the numbers of the tensor `name`.
    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|(dtype, _)| *dtype)
    }

    /// The numbers of the tensor `name`.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<f32>> {
        let (dtype, range) = self.tensors.get(name)?;
        Some(dtype.numbers(&self.bytes[range.clone()]))
    }
}

fn dtype(dtype: safetensors::Dtype) -> Option<Dtype> {
    use safetensors::Dtype as Theirs;
    Some(match dtype {
        Theirs::F64 => Dtype::F64,
        Theirs::F32 => Dtype::F32,
        Theirs::F16 => Dtype::F16,
        Theirs::BF16 => Dtype::BF16,
        Theirs::I64 => Dtype::I64,
        Theirs::I32 => Dtype::I32,
        Theirs::I16 => Dtype::I16,
        Theirs::I8 => Dtype::I8,
        Theirs::U8 => Dtype::U8,
        Theirs::BOOL => Dtype::Bool,
        _ => return None,
    })
}
