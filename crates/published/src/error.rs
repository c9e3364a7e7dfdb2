//! Errors of importing.

use std::path::PathBuf;

use crate::fit::Misfit;

/// A fault of a published checkpoint or of what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of PyTorch cannot be read.
    #[error(transparent)]
    PyTorch(#[from] robustseg_pytorch::Error),
    /// A file is damaged or of another format.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault. The text continues a sentence that begins with the file.
        reason: String,
    },
    /// The tensors do not make a network of the kind.
    #[error("{}: does not fit the kind {kind}: {misfit}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: &'static str,
        /// All that does not fit.
        misfit: Box<Misfit>,
    },
    /// The number of classes is not the expected one.
    #[error("{}: its classifier has {found} classes, but {expected} are expected", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// Classes of the classifier.
        found: usize,
        /// Classes that were asked for.
        expected: usize,
    },
    /// The network cannot be described or written.
    #[error(transparent)]
    Model(#[from] robustseg_models::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
