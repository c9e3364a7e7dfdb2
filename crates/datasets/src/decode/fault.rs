//! Why a file gives no picture, and what to do about files like it.

use std::path::Path;

use crate::Error;

/// What to do about damaged files.
const AGAIN: &str = "obtain these files again";
/// What to do about files of a kind that is not read.
pub(super) const CONVERT: &str = "convert these files to JPEG or PNG, gray or RGB, of 8 bits";
/// What to do about label files that compression has changed.
pub(super) const AS_PNG: &str =
    "obtain these label files as PNG; converting a JPEG does not bring the values back";
/// What to do about gray label files with an alpha channel.
pub(super) const AS_GRAY: &str = "store one value a pixel, as gray or palette PNG without an alpha channel";
/// What to do about label files that hold colours.
pub(super) const BY_COLOUR: &str = "if each class has one colour, set `labels_by: colour` in the manifest and give the \
                                    classes these colours; else store one value a pixel, as gray or palette PNG";

/// Why a file gives no picture.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) advice: &'static str,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>, advice: &'static str) -> Self {
        Self { reason: reason.into(), advice }
    }

    /// The error of the file `path`.
    pub(crate) fn of(self, path: &Path) -> Error {
        Error::Decode { path: path.to_owned(), reason: self.reason, advice: self.advice }
    }
}

/// A damaged file.
impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::new(reason, AGAIN)
    }
}

/// A damaged file.
impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::new(reason, AGAIN)
    }
}
