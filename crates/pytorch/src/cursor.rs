//! Bytes that are read from front to end. Nothing is reserved that is not there.

use crate::fault::{Checked, broken};

pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The number of bytes that have been read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        match self.bytes[self.position..].get(..count) {
            Some(bytes) => {
                self.position += count;
                Ok(bytes)
            }
            None => broken("it ends too early"),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many bytes as were taken"))
    }

    pub(crate) fn u8(&mut self) -> Checked<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Checked<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Checked<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Checked<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The bytes up to the next line feed, which is read too.
    pub(crate) fn line(&mut self) -> Checked<&'a [u8]> {
        let rest = &self.bytes[self.position..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                self.position += length + 1;
                Ok(&rest[..length])
            }
            None => broken("a line does not end"),
        }
    }
}
