//! A file of `torch.save`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use crate::fault::{Checked, Fault, broken};
use crate::legacy;
use crate::machine::unpickle;
use crate::object::Pickle;
use crate::state_dict::{self, StateDict};
use crate::tensor::Place;
use crate::zip::{directory, read_at};
use crate::{Error, Result, TensorInfo};

/// Longest pickle of a zip file in bytes.
const LONGEST_PICKLE: u64 = 32 << 20;

/// The weights in a file that `torch.save` wrote. Opening it reads names, types and shapes; values
/// are read one tensor at a time.
///
/// ```
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/state_dict.pth");
/// let mut file = robustseg_pytorch::TorchFile::open(path.as_ref())?;
/// assert_eq!(file.tensors()["conv.weight"].shape(), [2, 3, 1, 1]);
/// assert_eq!(file.read("conv.bias")?, [0.0, 1.0]);
/// # Ok::<(), robustseg_pytorch::Error>(())
/// ```
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    file: File,
    key: Vec<String>,
    tensors: BTreeMap<String, TensorInfo>,
    unknown: Vec<String>,
    places: BTreeMap<String, Place>,
    /// Names of the storages whose content has been checked.
    checked: BTreeSet<String>,
}

impl TorchFile {
    /// Opens the file at `path`. The weights are a dictionary of tensors by name, alone or under a
    /// key such as `state_dict` or `model`.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged or of another format, names a function that runs
    /// programs, or holds no dictionary of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let with_path = |fault| Error::new(path, fault);
        let about = std::fs::metadata(path).map_err(|error| with_path(Fault::Read(error)))?;
        if !about.is_file() {
            return Err(with_path(Fault::Format("is no regular file".into())));
        }
        let mut file = File::open(path).map_err(|error| with_path(Fault::Read(error)))?;
        let (pickle, places) = content(&mut file, about.len()).map_err(with_path)?;
        let StateDict { path: key, tensors, unknown } = state_dict::find(&pickle).map_err(with_path)?;
        for (name, tensor) in &tensors {
            fits(name, tensor, &places).map_err(with_path)?;
        }
        Ok(Self { path: path.into(), file, key, tensors, unknown, places, checked: BTreeSet::new() })
    }

    /// The keys that lead to the weights; none if they are the whole content.
    pub fn key(&self) -> &[String] {
        &self.key
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Names of further tensors, whose types of numbers are not known here.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The numbers of the tensor `name` in the order of its elements, the last axis fastest. Other
    /// types than f32 are converted.
    ///
    /// # Errors
    /// If there is no such tensor, or its numbers cannot be read or are damaged.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        self.numbers(name).map_err(|fault| Error::new(&self.path, fault))
    }

    fn numbers(&mut self, name: &str) -> Checked<Vec<f32>> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Fault::Format(format!("has no tensor {name}")));
        };
        let place = &self.places[&tensor.storage];
        if !self.checked.contains(&tensor.storage) {
            place.check(&mut self.file)?;
            self.checked.insert(tensor.storage.clone());
        }
        place.read(&mut self.file, tensor)
    }
}

/// What the file holds, and where its storages are.
fn content(file: &mut File, length: u64) -> Checked<(Pickle, BTreeMap<String, Place>)> {
    let mut begin = Vec::new();
    file.by_ref().take(512).read_to_end(&mut begin)?;
    file.rewind()?;
    let convert = "load it with the PyTorch that wrote it, and save its state_dict again with torch.save";
    if begin.starts_with(b"PK\x03\x04") {
        zipped(file)
    } else if legacy::is_legacy(&begin) {
        legacy::read(file, length)
    } else if begin.get(257..262) == Some(b"ustar") {
        Err(Fault::Format(format!("is a tar archive, as PyTorch wrote before version 0.2; {convert}")))
    } else if begin.first() == Some(&0x80) {
        Err(Fault::Format(format!("is a pickle, but was not written by torch.save; {convert}")))
    } else {
        Err(Fault::Format("is no file of torch.save: it is neither a zip file nor a pickle".into()))
    }
}

/// What a zip file holds.
fn zipped(file: &mut File) -> Checked<(Pickle, BTreeMap<String, Place>)> {
    let entries = directory(file)?;
    let mut roots = entries.keys().filter_map(|name| {
        let root = name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/') && root.matches('/').count() == 1).then_some(root)
    });
    let Some(root) = roots.next() else {
        return Err(Fault::Format(
            "is a zip file, but not of torch.save, as it has no data.pkl; give the file of weights".into(),
        ));
    };
    let order = entries.get(&format!("{root}byteorder"));
    if let Some(order) = order {
        let start = order.start(file)?;
        if read_at(file, start, order.length.min(16) as usize)? != b"little" {
            return Err(Fault::Format(
                "holds its numbers in the byte order of another processor; load it there and save it again"
                    .into(),
            ));
        }
    }
    let entry = &entries[&format!("{root}data.pkl")];
    if entry.length > LONGEST_PICKLE {
        return broken(format!("its pickle has {} bytes", entry.length));
    }
    let start = entry.start(file)?;
    let bytes = read_at(file, start, entry.length as usize)?;
    if crc32fast::hash(&bytes) != entry.crc {
        return broken("its pickle does not have its CRC-32");
    }
    let (pickle, _) = unpickle(&bytes)?;
    let folder = format!("{root}data/");
    let mut places = BTreeMap::new();
    for (name, entry) in &entries {
        if let Some(key) = name.strip_prefix(&folder).filter(|_| entry.stored) {
            let start = entry.start(file)?;
            places.insert(key.to_owned(), Place { start, length: entry.length, crc: Some(entry.crc) });
        }
    }
    Ok((pickle, places))
}

/// Requires that the storage of `tensor` is there and large enough.
fn fits(name: &str, tensor: &TensorInfo, places: &BTreeMap<String, Place>) -> Checked<()> {
    let Some(place) = places.get(&tensor.storage) else {
        return broken(format!("the numbers of the tensor {} are missing", name.escape_debug()));
    };
    let (_, end) = tensor.layout.span();
    let size = tensor.dtype.size() as u64;
    match end.checked_mul(size) {
        Some(bytes) if bytes <= place.length && tensor.layout.is_within(place.length / size) => Ok(()),
        _ => broken(format!("the numbers of the tensor {} are cut off", name.escape_debug())),
    }
}
