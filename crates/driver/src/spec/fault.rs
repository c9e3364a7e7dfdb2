//! What is wrong with a spec, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value of a spec was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, at this line and column, both from 1.
    File {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
    /// On the command line: the argument of `--set`.
    Override(String),
}

/// A fault of a spec: the key's path, the place, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Keys from the top to the value, outermost first.
    pub path: Vec<String>,
    /// Where it was written, if it was.
    pub place: Option<Place>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Fault {
    /// A fault whose place is not known yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), place: None, message: message.into() }
    }

    /// The fault seen from outside: under `key`, at `place` unless a more precise one is known.
    pub(super) fn under(mut self, key: &str, place: &Place) -> Self {
        self.path.insert(0, key.to_owned());
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// The fault at `place`, unless a more precise one is known.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A spec that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("spec {}: {reason}", path.display())]
    File {
        /// The spec's file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// What is written in it is wrong.
    #[error("spec {}{}: {fault}", path.display(), suffix(fault.place.as_ref()))]
    Content {
        /// The spec's file.
        path: PathBuf,
        /// What, where and what to do.
        fault: Fault,
    },
}

fn suffix(place: Option<&Place>) -> String {
    match place {
        Some(Place::File { line, column }) => format!(":{line}:{column}"),
        Some(Place::Override(argument)) => format!(" with --set {argument}"),
        None => String::new(),
    }
}
