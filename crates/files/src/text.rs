//! Text files of limited size.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::Utf8Error;

/// Why a text file cannot be read.
///
/// Its `Display` continues a sentence that begins with the file's name.
#[derive(Debug)]
pub enum TextFault {
    /// The file is missing or the system refuses to read it.
    Unreadable(io::Error),
    /// The file is larger than this limit in bytes.
    TooLarge(u64),
    /// The file is not UTF-8.
    NotUtf8(Utf8Error),
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::TooLarge(limit) => write!(f, "is larger than {limit} bytes"),
            Self::NotUtf8(error) => write!(f, "is not UTF-8 text: {error}"),
        }
    }
}

impl std::error::Error for TextFault {}

/// The text of the file at `path`. Reads at most one byte more than `limit`.
///
/// # Errors
/// If the file cannot be read, has more than `limit` bytes, or is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, TextFault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(TextFault::Unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(TextFault::TooLarge(limit));
    }
    String::from_utf8(bytes).map_err(|error| TextFault::NotUtf8(error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_up_to_the_limit_is_read_and_a_larger_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "1234").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1234");
        assert!(matches!(read_text(&path, 3), Err(TextFault::TooLarge(3))));
        std::fs::write(&path, b"caf\xe9").unwrap();
        assert!(matches!(read_text(&path, 4), Err(TextFault::NotUtf8(_))));
        assert!(matches!(read_text(folder.path(), 4), Err(TextFault::Unreadable(_))));
    }
}
