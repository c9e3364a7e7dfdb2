//! Weights of another program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use robustseg_pytorch::{TensorInfo, TorchFile};

use crate::safetensors_file::SafetensorsFile;
use crate::{Error, Result};

/// A file of weights: one that PyTorch's `torch.save` wrote, or a safetensors file.
///
/// ```
/// use robustseg_published::Weights;
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/semseg-pspnet_tiny.pth");
/// let weights = Weights::open(file.as_ref())?;
/// let (kind, share) = weights.nearest().unwrap();
/// assert_eq!((kind.name, share), ("semseg-pspnet", 1.0));
/// # Ok::<(), robustseg_published::Error>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    content: Content,
    shapes: BTreeMap<String, Vec<usize>>,
    /// Names of further tensors, whose types of numbers are not known here.
    unknown: Vec<String>,
}

#[derive(Debug)]
enum Content {
    Torch(TorchFile),
    Safetensors(SafetensorsFile),
}

impl Weights {
    /// Opens the file at `path`. Its first bytes decide how it is read.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or of another format, or is a pickle that names a function
    /// which runs programs.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::File { path: path.to_path_buf(), reason };
        let unreadable = |error| refuse(format!("cannot be read: {error}"));
        match std::fs::metadata(path) {
            Ok(about) if about.is_file() => {}
            Ok(_) => return Err(refuse("is no file".into())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(refuse("no such file".into())),
            Err(error) => return Err(unreadable(error)),
        }
        let mut begin = Vec::new();
        File::open(path).and_then(|file| file.take(2).read_to_end(&mut begin)).map_err(unreadable)?;
        let (content, shapes, unknown) = match begin[..] {
            [b'P', b'K'] | [0x80, 2..=5] => {
                let file = TorchFile::open(path)?;
                let shape = |(name, tensor): (&String, &TensorInfo)| (name.clone(), tensor.shape().to_vec());
                let shapes = file.tensors().iter().map(shape).collect();
                let unknown = file.unknown().to_vec();
                (Content::Torch(file), shapes, unknown)
            }
            _ => {
                let mut file = SafetensorsFile::open(path).map_err(refuse)?;
                let shapes = std::mem::take(&mut file.shapes);
                let unknown = std::mem::take(&mut file.unknown);
                (Content::Safetensors(file), shapes, unknown)
            }
        };
        Ok(Self { path: path.to_path_buf(), content, shapes, unknown })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shapes of the tensors by name. PyTorch's counters of batches (`num_batches_tracked`) do
    /// not count.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> + Clone {
        let is_counter = |name: &str| name.rsplit('.').next() == Some("num_batches_tracked");
        self.shapes
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .filter(move |(name, _)| !is_counter(name))
    }

    /// Names of the tensors whose types of numbers are not known here. They have no shapes.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The numbers of the tensor `name`.
    ///
    /// # Errors
    /// If there is no such tensor, it cannot be read, it holds whole numbers, or numbers that are
    /// not finite.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let dtype = match &self.content {
            Content::Torch(file) => file.tensors().get(name).map(TensorInfo::dtype),
            Content::Safetensors(file) => file.dtype(name),
        };
        if dtype.is_some_and(|dtype| !dtype.is_float()) {
            let reason = format!(
                "its tensor {name} holds whole numbers, as quantised weights do; give the weights before they were \
                 quantised"
            );
            return Err(self.refuse(reason));
        }
        let numbers = match &mut self.content {
            Content::Torch(file) => file.read(name)?,
            Content::Safetensors(file) => {
                file.read(name).ok_or_else(|| self.refuse(format!("has no tensor {name}")))?
            }
        };
        if numbers.iter().all(|number| number.is_finite()) {
            return Ok(numbers);
        }
        Err(self.refuse(format!("its tensor {name} has numbers that are not finite; the training diverged")))
    }

    pub(crate) fn refuse(&self, reason: String) -> Error {
        Error::File { path: self.path.clone(), reason }
    }
}
