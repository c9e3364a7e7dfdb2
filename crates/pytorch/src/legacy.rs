//! Files of before PyTorch 1.6: four pickles (magic number, protocol, system, content), a pickle
//! of the storages' names, and the storages one after the other.

use std::collections::BTreeMap;
use std::fs::File;

use crate::fault::{Checked, Fault, broken};
use crate::machine::unpickle;
use crate::object::{Object, Pickle};
use crate::tensor::Place;
use crate::zip::read_at;

/// The first pickle after its protocol: the number 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Longest pickles in bytes, of which a megabyte is usual.
const LONGEST_PICKLES: u64 = 32 << 20;

/// Whether a file that begins with `bytes` is of this format.
pub(crate) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x80) && bytes.get(2..14) == Some(&MAGIC)
}

/// The content of `file`, which has `length` bytes, and the places of its storages by name.
pub(crate) fn read(file: &mut File, length: u64) -> Checked<(Pickle, BTreeMap<String, Place>)> {
    let bytes = read_at(file, 0, length.min(LONGEST_PICKLES) as usize)?;
    let mut at = 0;
    let mut next = || {
        let (pickle, used) = unpickle(&bytes[at..])?;
        at += used;
        Ok::<Pickle, Fault>(pickle)
    };
    next()?;
    let protocol = next()?;
    if !matches!(protocol.get(protocol.root), Object::Int(1001)) {
        return broken("it has an unknown version of its format");
    }
    let system = next()?;
    if !is_little_endian(&system) {
        return Err(Fault::Format(
            "holds its numbers in the byte order of another processor; load it there and save it again"
                .into(),
        ));
    }
    let (content, keys) = (next()?, next()?);
    let Object::List(names) = keys.get(keys.root) else {
        return broken("it does not list its storages");
    };
    let known: BTreeMap<&str, usize> = storages(&content)?;
    let (mut places, mut start) = (BTreeMap::new(), at as u64);
    for name in names {
        let Object::Text(name) = keys.get(*name) else { return broken("the name of a storage is no text") };
        let Some(size) = known.get(name.as_str()) else {
            return broken("it lists a storage that its content does not use");
        };
        let count = u64::from_le_bytes(read_at(file, start, 8)?.try_into().expect("eight bytes were read"));
        start += 8;
        let Some(end) = count.checked_mul(*size as u64).and_then(|bytes| start.checked_add(bytes)) else {
            return broken("a storage has no end");
        };
        if end > length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        places.insert(name.clone(), Place { start, length: end - start, crc: None });
        start = end;
    }
    Ok((content, places))
}

/// Bytes of a number of each storage by name.
fn storages(content: &Pickle) -> Checked<BTreeMap<&str, usize>> {
    let mut sizes = BTreeMap::new();
    for object in &content.objects {
        if let Object::Storage(storage) = object {
            let Some(dtype) = storage.dtype else {
                let class = storage.class.escape_debug();
                return Err(Fault::Format(format!(
                    "has numbers of the type {class}, which are not known here; load it with PyTorch and save its \
                     state_dict again with torch.save"
                )));
            };
            sizes.insert(storage.key.as_str(), dtype.size());
        }
    }
    Ok(sizes)
}

fn is_little_endian(system: &Pickle) -> bool {
    let Object::Dict(items) = system.get(system.root) else { return true };
    !items.iter().any(|(key, value)| {
        matches!(system.get(*key), Object::Text(key) if key == "little_endian")
            && matches!(system.get(*value), Object::Bool(false))
    })
}
