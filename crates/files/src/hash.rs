//! SHA-256 of bytes and files, and hexadecimal digits.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use sha2::Digest;

/// The number of bytes that [`pieces`] reads at a time.
const PIECE: usize = 1 << 16;

/// A SHA-256 that takes its input piece by piece.
///
/// ```
/// use robustseg_files::{Sha256, sha256};
///
/// let mut hash = Sha256::new();
/// hash.update("ab");
/// hash.update(b"c");
/// assert_eq!(hash.hexadecimal(), sha256("abc"));
/// ```
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// A hash of no input yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `piece`. The result does not depend on how the input is split.
    pub fn update(&mut self, piece: impl AsRef<[u8]>) {
        self.0.update(piece);
    }

    /// Adds everything that `from` yields.
    pub fn read(&mut self, from: impl Read) -> io::Result<()> {
        pieces(
            from,
            |error| error,
            |piece| {
                self.update(piece);
                Ok(())
            },
        )
    }

    /// The 32 bytes of the hash.
    pub fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hexadecimal(self) -> String {
        hexadecimal(&self.bytes())
    }
}

/// The SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
///
/// ```
/// let hash = robustseg_files::sha256("abc");
/// assert!(hash.starts_with("ba7816bf") && hash.len() == 64);
/// ```
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.hexadecimal()
}

/// The SHA-256 of the file at `path` as 64 lower-case hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.read(File::open(path)?)?;
    Ok(hash.hexadecimal())
}

/// Reads `from` to its end and passes each piece of up to 64 KiB to `take`. `broken` converts the
/// error of a failed read.
///
/// # Errors
/// The first error of `broken` or `take`.
pub fn pieces<E>(
    mut from: impl Read,
    broken: impl Fn(io::Error) -> E,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

/// `bytes` as lower-case hexadecimal digits, two per byte.
///
/// ```
/// assert_eq!(robustseg_files::hexadecimal(&[0x0f, 0xa0]), "0fa0");
/// ```
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Whether `text` consists of exactly `digits` lower-case hexadecimal digits.
///
/// ```
/// assert!(robustseg_files::is_hexadecimal("0fa0", 4));
/// assert!(!robustseg_files::is_hexadecimal("0FA0", 4));
/// ```
pub fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yields one byte at a time and is interrupted before each.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn an_interrupted_read_is_repeated() {
        let mut hash = Sha256::new();
        hash.read(Slow(b"abc", false)).unwrap();
        assert_eq!(hash.hexadecimal(), sha256(b"abc"));
    }

    #[test]
    fn a_file_and_its_bytes_have_the_same_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = vec![7; 2 * PIECE + 3];
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(sha256_of(&path).unwrap(), sha256(&bytes));
        assert!(sha256_of(folder.path()).is_err());
    }
}
