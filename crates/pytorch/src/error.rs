//! Errors of files.

use std::io;
use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// A fault of a file of `torch.save`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is damaged, of another format, or holds no weights.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The fault and its remedy. The text continues a sentence that begins with the file.
        reason: String,
    },
    /// The file would run a program when Python loads it.
    #[error(
        "{}: names the function {global}, which weights do not need and which attacks use to run programs; \
         do not load this file with PyTorch, and take weights from a source that you trust",
        path.display()
    )]
    Hostile {
        /// The file.
        path: PathBuf,
        /// The function, with its module.
        global: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(path: &Path, fault: Fault) -> Self {
        let path = path.to_path_buf();
        match fault {
            Fault::Read(source) => Self::Read { path, source },
            Fault::Format(reason) => Self::Format { path, reason },
            Fault::Hostile(global) => Self::Hostile { path, global },
        }
    }
}
