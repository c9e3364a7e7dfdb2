//! Why a file cannot be decoded, and what to do about such files.

use std::fmt::Display;
use std::path::Path;

use crate::error::Error;

/// Advice for damaged files.
pub(crate) const AGAIN: &str = "obtain these files again";
/// Advice for files of an unsupported kind.
pub(super) const CONVERT: &str = "convert these files to JPEG or PNG, gray or RGB, of 8 bits";
/// Advice for label files that compression has changed.
pub(super) const AS_PNG: &str =
    "obtain these label files as PNG; converting a JPEG does not bring the values back";
/// Advice for gray label files with an alpha channel.
pub(super) const AS_GRAY: &str = "store one value a pixel, as gray or palette PNG without an alpha channel";
/// Advice for label files that contain colours.
pub(super) const BY_COLOUR: &str = "if each class has one colour, set `labels_by: colour` in the manifest and give the \
                                    classes these colours; else store one value a pixel, as gray or palette PNG";

/// Why a file cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The common description of such faults, without the numbers of a particular file.
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) advice: &'static str,
}

impl Fault {
    /// A fault with its own reason.
    pub(crate) fn new(kind: impl Into<String>, reason: impl Into<String>, advice: &'static str) -> Self {
        Self { kind: kind.into(), reason: reason.into(), advice }
    }

    /// A fault whose reason is its kind followed by `more`.
    pub(crate) fn with(kind: &str, more: &str, advice: &'static str) -> Self {
        Self::new(kind, format!("{kind}{more}"), advice)
    }

    /// A damaged file, described by `kind` alone.
    pub(crate) fn damage(kind: &str) -> Self {
        Self::new(kind, kind, AGAIN)
    }

    /// A damaged file.
    pub(crate) fn damaged(kind: &str, detail: impl Display) -> Self {
        Self::with(kind, &format!(": {detail}"), AGAIN)
    }

    /// The error of the file `path`.
    pub(crate) fn of(self, path: &Path) -> Error {
        let Self { kind, reason, advice } = self;
        Error::Decode { path: path.to_owned(), kind, reason, advice }
    }
}
