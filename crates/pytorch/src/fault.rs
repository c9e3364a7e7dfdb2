//! Faults of a file, before its path is added.

use std::io;

pub(crate) enum Fault {
    /// The system cannot read.
    Read(io::Error),
    /// The content is wrong: the end of a sentence that begins with the file's name.
    Format(String),
    /// The content names this function.
    Hostile(String),
}

/// A result with a [`Fault`].
pub(crate) type Checked<T> = Result<T, Fault>;

/// The fault of a pickle that is not what `torch.save` writes.
pub(crate) fn broken<T>(what: impl AsRef<str>) -> Checked<T> {
    let what = what.as_ref();
    Err(Fault::Format(format!("is damaged or no file of torch.save: {what}; take another copy of it")))
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::Format("ends too early, so it is truncated; take another copy of it".into())
            }
            _ => Self::Read(error),
        }
    }
}
