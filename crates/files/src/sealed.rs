//! Safetensors files that detect damage. Their metadata hold a seal: a SHA-256 over everything
//! else.
//!
//! The seal covers the names, types, shapes and values, not the bytes of the file. A program that
//! reads a file and writes it again therefore does not break the seal. Files of other programs have
//! no seal.
//!
//! ```
//! use std::collections::BTreeMap;
//! use robustseg_files::sealed::{Sealed, seal};
//! use safetensors::tensor::{Dtype, TensorView};
//!
//! let tensor = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
//! let mut file = seal(vec![("a".into(), tensor)], &BTreeMap::from([("note", "x".into())])).unwrap();
//! assert!(Sealed::parse(&file).unwrap().sealed);
//! *file.last_mut().unwrap() ^= 1;
//! assert!(Sealed::parse(&file).is_err());
//! ```

use crate::durable::folder;
use crate::foreign::kind;
use crate::{Draft, Sha256, pieces};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View, serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;

/// The metadata key of the seal.
const SEAL: &str = "sha256";

/// The longest accepted header, in bytes: five times that of the largest network.
const LONGEST_HEADER: u64 = 16 << 20;

/// Bytes that are written at once.
const PIECE: usize = 1 << 16;

/// A safetensors file with a correct seal or without a seal.
pub struct Sealed<'a> {
    /// The tensors.
    pub tensors: SafeTensors<'a>,
    /// The metadata without the seal.
    pub metadata: HashMap<String, String>,
    /// Whether the file has a seal.
    pub sealed: bool,
}

impl<'a> Sealed<'a> {
    /// Reads the file with the content `bytes`.
    ///
    /// # Errors
    /// A description of the fault, as the end of a sentence that begins with the file's name.
    /// Either the bytes are not a safetensors file, or the content was changed after it was sealed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let no_file = |error: SafeTensorError| match kind(bytes) {
            Some(told) => format!("is not a complete safetensors file {told}"),
            None => {
                format!(
                    "is not a complete safetensors file ({error}); it may be truncated or of another format"
                )
            }
        };
        if bytes.first_chunk().is_some_and(|length| u64::from_le_bytes(*length) > LONGEST_HEADER) {
            return Err(no_file(SafeTensorError::HeaderTooLarge));
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(no_file)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(no_file)?;
        let mut metadata = header.metadata().clone().unwrap_or_default();
        let seal = metadata.remove(SEAL);
        if seal.as_ref().is_some_and(|seal| *seal != digest(&tensors, &metadata)) {
            return Err(
                "is damaged: its content does not have the SHA-256 that was written with it; take another \
                 copy (if you changed the checkpoint on purpose, remove its metadata key `sha256`)"
                    .into(),
            );
        }
        Ok(Self { tensors, metadata, sealed: seal.is_some() })
    }
}

/// The bytes of a sealed file of `tensors` and `metadata`. The same content gives the same bytes.
///
/// # Errors
/// If the names or shapes of the tensors do not make a safetensors file.
pub fn seal<V: View>(
    tensors: Vec<(String, V)>,
    metadata: &BTreeMap<&str, String>,
) -> Result<Vec<u8>, SafeTensorError> {
    let mut file = serialize(tensors, None)?;
    let owned = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let seal = digest(&SafeTensors::deserialize(&file)?, &owned);
    // The metadata are written here because safetensors writes several keys in a varying order.
    let header = SafeTensors::read_metadata(&file)?.0;
    let text = std::str::from_utf8(&file[8..8 + header]).map_err(SafeTensorError::InvalidHeader)?;
    let tensors = text.trim_end().strip_prefix('{').ok_or(SafeTensorError::InvalidHeaderLength)?;
    let metadata = std::iter::once((&SEAL, &seal)).chain(metadata);
    let metadata = metadata.map(|(key, value)| Ok(format!("{}:{}", json(key)?, json(value)?)));
    let metadata = metadata.collect::<Result<Vec<_>, SafeTensorError>>()?.join(",");
    let comma = if tensors == "}" { "" } else { "," };
    let mut text = format!("{{\"__metadata__\":{{{metadata}}}{comma}{tensors}");
    // The data must begin at a multiple of eight bytes.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let length = (text.len() as u64).to_le_bytes();
    file.splice(..8 + header, length.into_iter().chain(text.into_bytes()));
    Ok(file)
}

/// Writes a sealed file of f32 tensors to `path` atomically. `shapes` has the tensors by name, and
/// `values` gives the numbers of one. No more than one tensor is in memory.
///
/// # Errors
/// The first error of `values`, and the errors of the file system. A file at `path` is then
/// unchanged.
pub fn write_floats<E: From<io::Error>>(
    path: &Path,
    shapes: &BTreeMap<String, Vec<usize>>,
    metadata: &BTreeMap<&str, String>,
    mut values: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    let unsealed = header(shapes, metadata, &"0".repeat(64))?;
    let mut draft = Draft::new(folder(path))?;
    draft.write_all(&unsealed)?;
    let mut hash = Sha256::new();
    hash.update(format!("{metadata:?}"));
    let mut bytes = Vec::with_capacity(PIECE);
    for (name, shape) in shapes {
        hash.update(format!("{name:?} {:?} {shape:?}", Dtype::F32));
        let numbers = values(name)?;
        if numbers.len() != shape.iter().product::<usize>() {
            let reason = format!("{name} has {} numbers, but the shape {shape:?}", numbers.len());
            return Err(io::Error::new(ErrorKind::InvalidData, reason).into());
        }
        for piece in numbers.chunks(PIECE / 4) {
            bytes.clear();
            bytes.extend(piece.iter().flat_map(|number| number.to_le_bytes()));
            hash.update(&bytes);
            draft.write_all(&bytes)?;
        }
    }
    // The seal covers everything after it.
    draft.rewind()?;
    draft.write_all(&header(shapes, metadata, &hash.hexadecimal())?)?;
    draft.publish(path)?;
    Ok(())
}

/// The first bytes of a sealed file of f32 tensors, one after the other.
fn header(
    shapes: &BTreeMap<String, Vec<usize>>,
    metadata: &BTreeMap<&str, String>,
    seal: &str,
) -> io::Result<Vec<u8>> {
    let metadata = std::iter::once((SEAL, seal)).chain(metadata.iter().map(|(key, value)| (*key, &**value)));
    let pairs = metadata.map(|(key, value)| Ok(format!("{}:{}", json(key)?, json(value)?)));
    let pairs = pairs.collect::<Result<Vec<_>, SafeTensorError>>().map_err(io::Error::other)?;
    let mut text = format!("{{\"__metadata__\":{{{}}}", pairs.join(","));
    let mut start = 0;
    for (name, shape) in shapes {
        let end = start + 4 * shape.iter().product::<usize>();
        let name = json(name).map_err(io::Error::other)?;
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        text += &format!(
            ",{name}:{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}",
            shape.join(",")
        );
        start = end;
    }
    text.push('}');
    // The data must begin at a multiple of eight bytes.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat())
}

fn json(text: &str) -> Result<String, SafeTensorError> {
    serde_json::to_string(text).map_err(SafeTensorError::InvalidHeaderDeserialization)
}

/// The bytes of the regular file at `path`. Memory for the whole file is reserved before it is
/// read.
///
/// # Errors
/// A description of the fault, as the end of a sentence that begins with the file's name.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_open(path).map(|(bytes, _)| bytes)
}

/// [`read`], and the file that was read, which stays the same when another one takes its place.
///
/// # Errors
/// Those of [`read`].
pub fn read_open(path: &Path) -> Result<(Vec<u8>, File), String> {
    let (file, bytes) = open(path)?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut content = Vec::new();
    content
        .try_reserve_exact(length)
        .map_err(|_| format!("is too large: there is no memory for its {length} bytes"))?;
    (&file).take(bytes).read_to_end(&mut content).map_err(broken)?;
    Ok((content, file))
}

/// SHA-256 of the regular file at `path`, which is never in memory as a whole.
///
/// # Errors
/// Those of [`read`].
pub fn sha256_of_file(path: &Path) -> Result<String, String> {
    let (file, _) = open(path)?;
    let mut hash = Sha256::new();
    pieces(file, broken, |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok(hash.hexadecimal())
}

/// The regular file at `path`, and its length.
fn open(path: &Path) -> Result<(File, u64), String> {
    // Opening a pipe would block, so the kind of file is checked first.
    let about = std::fs::metadata(path).map_err(broken)?;
    if about.is_dir() {
        return Err("is a folder; give the file in it, for example checkpoints/last.safetensors".into());
    }
    if !about.is_file() {
        return Err("is no regular file".into());
    }
    Ok((File::open(path).map_err(broken)?, about.len()))
}

/// Why a file cannot be read, as the end of a sentence.
#[allow(clippy::needless_pass_by_value, reason = "it maps errors")]
fn broken(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file; give the path of a .safetensors file".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// The seal of a file of `tensors` and `metadata`.
fn digest(tensors: &SafeTensors<'_>, metadata: &HashMap<String, String>) -> String {
    let mut hash = Sha256::new();
    let metadata: BTreeMap<_, _> = metadata.iter().collect();
    hash.update(format!("{metadata:?}"));
    let tensors: BTreeMap<_, _> = tensors.tensors().into_iter().collect();
    for (name, tensor) in &tensors {
        hash.update(format!("{name:?} {:?} {:?}", tensor.dtype(), tensor.shape()));
        hash.update(tensor.data());
    }
    hash.hexadecimal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn tensors(data: &[u8]) -> Vec<(String, TensorView<'_>)> {
        let view = |range| TensorView::new(Dtype::F32, vec![2], &data[range]).unwrap();
        vec![("b".into(), view(0..8)), ("a".into(), view(8..16))]
    }

    const DATA: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

    #[test]
    fn sealed_content_is_read_back_and_every_flipped_bit_is_detected() {
        let model = BTreeMap::from([("model", r#"{"width": 4}"#.into())]);
        let file = seal(tensors(&DATA), &model).unwrap();
        assert_eq!(file, seal(tensors(&DATA), &model).unwrap());
        let whole = Sealed::parse(&file).unwrap();
        assert!(whole.sealed);
        assert_eq!(whole.metadata, HashMap::from([("model".into(), r#"{"width": 4}"#.into())]));
        assert_eq!(whole.tensors.tensor("a").unwrap().data(), &DATA[8..]);
        for bit in 0..8 * file.len() {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flip that renames the key of the seal, or changes white space, does not affect the
            // content.
            if let Ok(found) = Sealed::parse(&flipped) {
                assert_eq!(found.metadata.get("model"), whole.metadata.get("model"), "bit {bit}");
                for name in ["a", "b"] {
                    assert_eq!(found.tensors.tensor(name).unwrap(), whole.tensors.tensor(name).unwrap());
                }
            }
        }
        for length in 0..file.len() {
            assert!(Sealed::parse(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_file_written_tensor_by_tensor_has_the_bytes_of_one_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let numbers = |count: usize| (0..count).map(|number| number as f32 / 3.0).collect::<Vec<_>>();
        let shapes = BTreeMap::from([
            ("a".to_owned(), vec![3, 7]),
            ("a\"b".to_owned(), vec![]),
            ("b".to_owned(), vec![PIECE, 1]),
            ("none".to_owned(), vec![0]),
        ]);
        let metadata = BTreeMap::from([("model", "{\"width\": 4}".to_owned()), ("note", "é\n".to_owned())]);
        let count = |name: &str| shapes[name].iter().product();
        write_floats(&path, &shapes, &metadata, |name| Ok::<_, io::Error>(numbers(count(name)))).unwrap();
        let bytes: Vec<(String, Vec<u8>)> = shapes
            .keys()
            .map(|name| (name.clone(), numbers(count(name)).iter().flat_map(|n| n.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, bytes)| {
            (name.clone(), TensorView::new(Dtype::F32, shapes[name].clone(), bytes).unwrap())
        });
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written, seal(views.collect(), &metadata).unwrap());
        assert!(Sealed::parse(&written).unwrap().sealed);
        // An error leaves the file as it was, and nothing next to it.
        let short = write_floats(&path, &shapes, &metadata, |_| Ok::<_, io::Error>(Vec::new())).unwrap_err();
        assert!(short.to_string().contains("a has 0 numbers, but the shape [3, 7]"), "{short}");
        assert_eq!(std::fs::read(&path).unwrap(), written);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn data_begin_at_multiples_of_eight_bytes() {
        for length in 0..8 {
            let file = seal(tensors(&DATA), &BTreeMap::from([("model", "x".repeat(length))])).unwrap();
            let (header, _) = SafeTensors::read_metadata(&file).unwrap();
            assert_eq!(header % 8, 0);
            assert_eq!(file.len(), 8 + header + DATA.len());
            assert!(!file[8..8 + header].ends_with(b"        "), "no more than there must be");
        }
    }

    #[test]
    fn a_seal_survives_another_order_of_writing() {
        let file = seal(tensors(&DATA), &BTreeMap::from([("model", "{}".into()), ("classes", "[]".into())]))
            .unwrap();
        let (_, header) = SafeTensors::read_metadata(&file).unwrap();
        let again = serialize(tensors(&DATA), header.metadata().clone()).unwrap();
        assert!(Sealed::parse(&again).unwrap().sealed);
        let mut other = DATA;
        other[3] = 0;
        let changed = serialize(tensors(&other), header.metadata().clone()).unwrap();
        assert!(Sealed::parse(&changed).err().unwrap().contains("damaged"));
        let foreign = serialize(tensors(&DATA), None).unwrap();
        assert!(!Sealed::parse(&foreign).unwrap().sealed);
    }

    #[test]
    fn endless_headers_and_invalid_files_are_refused() {
        let mut bomb = (u64::MAX / 2).to_le_bytes().to_vec();
        bomb.extend([b'{'; 100]);
        assert!(Sealed::parse(&bomb).err().unwrap().contains("header too large"));
        for (length, too_large) in [(LONGEST_HEADER, false), (LONGEST_HEADER + 1, true)] {
            bomb[..8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Sealed::parse(&bomb).err().unwrap().contains("header too large"), too_large);
        }
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("no regular file"));
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().contains("is a folder"));
        assert!(
            read(&folder.path().join("none")).unwrap_err().contains("give the path of a .safetensors file")
        );
        let sparse = folder.path().join("sparse");
        File::create(&sparse).unwrap().set_len(1 << 43).unwrap();
        assert!(read(&sparse).unwrap_err().contains("too large"));
    }
}
