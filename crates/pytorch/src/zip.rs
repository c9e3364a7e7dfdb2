//! The directory of a zip file. Entries that are stored without compression can be read, as `torch.save`
//! writes them.
//!
//! It is read here because nothing but stored entries is needed, and because no count that the file
//! claims may decide how much memory is reserved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::cursor::Cursor;
use crate::fault::{Checked, Fault, broken};

/// Longest directory in bytes. An entry takes about a hundred.
const LONGEST_DIRECTORY: u64 = 64 << 20;

/// Bytes of the end of a zip file with the longest comment.
const LONGEST_END: u64 = 22 + 0xffff;

/// A stored file in a zip file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where its local header begins.
    header: u64,
    /// Its length in bytes.
    pub(crate) length: u64,
    /// The CRC-32 of its content.
    pub(crate) crc: u32,
    /// Whether the content is stored without compression.
    pub(crate) stored: bool,
}

/// The entries of `file` by name.
pub(crate) fn directory(file: &mut File) -> Checked<BTreeMap<String, Entry>> {
    let length = file.seek(SeekFrom::End(0))?;
    let (start, size) = place(file, length)?;
    if size > LONGEST_DIRECTORY || start.checked_add(size).is_none_or(|end| end > length) {
        return broken("the directory of the zip file lies beyond its end");
    }
    let bytes = read_at(file, start, size as usize)?;
    let mut directory = Cursor::new(&bytes);
    let mut entries = BTreeMap::new();
    while directory.position() < bytes.len() {
        let (name, entry) = entry(&mut directory)?;
        if entry.stored && entry.header.saturating_add(entry.length) > length {
            return broken(format!("{} is cut off", name.escape_debug()));
        }
        entries.insert(name, entry);
    }
    Ok(entries)
}

impl Entry {
    /// Where the content begins.
    pub(crate) fn start(&self, file: &mut File) -> Checked<u64> {
        if !self.stored {
            return Err(Fault::Format(
                "is a zip file that is compressed or encrypted, as torch.save writes none; unpack it and give \
                 the file of weights in it"
                    .into(),
            ));
        }
        let header = read_at(file, self.header, 30)?;
        let mut header = Cursor::new(&header);
        if header.take(4)? != b"PK\x03\x04" {
            return broken("an entry of the zip file does not begin where it should");
        }
        header.take(22)?;
        let names = u64::from(header.u16()?) + u64::from(header.u16()?);
        Ok(self.header + 30 + names)
    }
}

/// `length` bytes of `file` from `start`.
pub(crate) fn read_at(file: &mut File, start: u64, length: usize) -> Checked<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes)
}

/// The first byte and the length of the directory.
fn place(file: &mut File, length: u64) -> Checked<(u64, u64)> {
    let start = length.saturating_sub(LONGEST_END);
    let bytes = read_at(file, start, (length - start) as usize)?;
    let Some(at) = bytes.windows(4).rposition(|window| window == b"PK\x05\x06") else {
        return Err(Fault::Format(
            "is a zip file without its end, so it is truncated; take another copy of it".into(),
        ));
    };
    let mut end = Cursor::new(&bytes[at..]);
    end.take(12)?;
    let (size, offset) = (end.u32()?, end.u32()?);
    let comment = end.u16()?;
    end.take(comment.into())?;
    let locator = (start + at as u64).checked_sub(20);
    if let Some(locator) = locator.filter(|_| size == u32::MAX || offset == u32::MAX || at >= 20) {
        let bytes = read_at(file, locator, 20)?;
        let mut locator = Cursor::new(&bytes);
        if locator.take(4)? == b"PK\x06\x07" {
            locator.take(4)?;
            let bytes = read_at(file, locator.u64()?, 56)?;
            let mut end = Cursor::new(&bytes);
            if end.take(4)? != b"PK\x06\x06" {
                return broken("the end of the zip file is not where it should be");
            }
            end.take(36)?;
            let (size, offset) = (end.u64()?, end.u64()?);
            return Ok((offset, size));
        }
    }
    Ok((offset.into(), size.into()))
}

/// The next entry of the directory.
fn entry(directory: &mut Cursor<'_>) -> Checked<(String, Entry)> {
    if directory.take(4)? != b"PK\x01\x02" {
        return broken("the directory of the zip file is damaged");
    }
    directory.take(4)?;
    let flags = directory.u16()?;
    let method = directory.u16()?;
    directory.take(4)?;
    let crc = directory.u32()?;
    let mut sizes = [directory.u32()?, directory.u32()?].map(u64::from);
    let [name, extra, comment] = [directory.u16()?, directory.u16()?, directory.u16()?].map(usize::from);
    directory.take(8)?;
    let mut header = u64::from(directory.u32()?);
    let name = String::from_utf8_lossy(directory.take(name)?).into_owned();
    let mut extra = Cursor::new(directory.take(extra)?);
    directory.take(comment)?;
    // Numbers of 64 bits are in an extra field, in the order of the fields they replace.
    let [stored, full] = &mut sizes;
    let large: Vec<&mut u64> =
        [full, stored, &mut header].into_iter().filter(|number| **number == u64::from(u32::MAX)).collect();
    if !large.is_empty() {
        loop {
            let (id, length) = (extra.u16()?, extra.u16()?);
            let mut field = Cursor::new(extra.take(length.into())?);
            if id == 1 {
                for number in large {
                    *number = field.u64()?;
                }
                break;
            }
        }
    }
    let [stored, full] = sizes;
    let is_stored = flags & 1 == 0 && method == 0 && stored == full;
    Ok((name, Entry { header, length: full, crc, stored: is_stored }))
}
