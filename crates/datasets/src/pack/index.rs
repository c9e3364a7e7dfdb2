//! The index of a pack: its samples and their positions.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The first and last bytes of a pack. The last character is the version of the format.
pub(crate) const MAGIC: &[u8; 8] = b"segpack2";

/// Bytes after the index: its length, its CRC-32, [`MAGIC`].
const TAIL: usize = 8 + 4 + MAGIC.len();

/// A sample in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The position of its first byte.
    pub(crate) offset: u64,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// CRC-32 of its pixels and labels.
    pub(crate) crc: u32,
    /// Stamp of the image file that was decoded.
    pub(crate) image: [u8; 32],
    /// Stamp of the label file that was decoded.
    pub(crate) label: [u8; 32],
}

/// All samples of a pack, in the split's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) origin: [u8; 32],
    pub(crate) entries: Vec<Entry>,
}

impl Index {
    /// The end of a pack: the index and its tail.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.origin.to_vec();
        for entry in &self.entries {
            let Entry { id, offset, width, height, crc, image, label } = entry;
            for number in [id.len() as u64, *offset, u64::from(*crc), *width as u64, *height as u64] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(image);
            bytes.extend(label);
            bytes.extend(id.as_bytes());
        }
        let (length, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc.to_le_bytes());
        bytes.extend(MAGIC);
        bytes
    }

    /// Reads the index of a pack. The error says why it is missing or damaged.
    pub(crate) fn read(file: &File) -> Result<Self, String> {
        let io = |error: std::io::Error| format!("cannot be read ({error})");
        let size = file.metadata().map_err(io)?.len();
        let broken = || "is no pack, or its end is missing".to_owned();
        let body = size.checked_sub(TAIL as u64).ok_or_else(broken)?;
        let mut tail = [0; TAIL];
        file.read_exact_at(&mut tail, body).map_err(io)?;
        let (numbers, magic) = tail.split_at(12);
        let (length, crc) = numbers.split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
        if magic != MAGIC {
            return Err(broken());
        }
        let start = body.checked_sub(length).ok_or_else(broken)?;
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, start).map_err(io)?;
        if crc32fast::hash(&bytes).to_le_bytes() != crc {
            return Err("is damaged, its index has another checksum".into());
        }
        Self::parse(&bytes, start).ok_or_else(broken)
    }

    /// The index in `bytes` of a pack whose samples end before `end`.
    fn parse(bytes: &[u8], end: u64) -> Option<Self> {
        let (origin, mut rest) = bytes.split_first_chunk::<32>()?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let mut number = || {
                let (number, behind) = rest.split_first_chunk::<8>()?;
                rest = behind;
                Some(u64::from_le_bytes(*number))
            };
            let [id, offset, crc, width, height] = [number()?, number()?, number()?, number()?, number()?];
            let (image, behind) = rest.split_first_chunk::<32>()?;
            let (label, behind) = behind.split_first_chunk::<32>()?;
            rest = behind;
            let (id, behind) = rest.split_at_checked(usize::try_from(id).ok()?)?;
            rest = behind;
            let bytes = width.checked_mul(height)?.checked_mul(4)?;
            if offset.checked_add(bytes)? > end {
                return None;
            }
            entries.push(Entry {
                id: String::from_utf8(id.to_vec()).ok()?,
                offset,
                width: width as usize,
                height: height as usize,
                crc: u32::try_from(crc).ok()?,
                image: *image,
                label: *label,
            });
        }
        Some(Self { origin: *origin, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let entry = |id: &str, offset| Entry {
            id: id.into(),
            offset,
            width: 3,
            height: 2,
            crc: 9,
            image: [7; 32],
            label: [8; 32],
        };
        Index { origin: [5; 32], entries: vec![entry("a", 8), entry("bä", 32)] }
    }

    #[test]
    fn it_survives_writing_and_reading_and_no_beginning_of_it_does() {
        let bytes = index().to_bytes();
        let end = bytes.len() - TAIL;
        assert_eq!(Index::parse(&bytes[..end], 56), Some(index()));
        assert_eq!(Index::parse(&bytes[..end], 55), None, "the second sample ends behind the end");
        let entry = 32 + 5 * 8 + 2 * 32 + 1;
        for length in (0..end).filter(|length| ![32, entry].contains(length)) {
            assert_eq!(Index::parse(&bytes[..length], 56), None, "{length}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Index::read(&File::open(&path).unwrap())
        };
        let whole = [&[0; 56][..], &index().to_bytes()].concat();
        assert_eq!(read(&whole), Ok(index()));
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "{cut}");
        }
        for at in 56..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "{at}");
        }
    }
}
