//! Recognises the format of a file by its first bytes.

use super::fault::{self, Fault};

pub(super) enum Format {
    Jpeg,
    Png,
}

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            Ok(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Ok(Self::Png)
        } else if bytes.is_empty() {
            Err(Fault::damage("is empty"))
        } else if bytes.starts_with(b"version https://git-lfs") {
            let more = ", not a picture; fetch the file itself";
            Err(Fault::with("is a Git LFS pointer", more, "fetch the files themselves, with `git lfs pull`"))
        } else {
            Err(Fault::with("is neither JPEG nor PNG", "", fault::CONVERT))
        }
    }
}
