//! Errors of the journal's files.

use std::path::Path;

use crate::Error;

pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    Error::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

pub(super) fn file_error(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}
