//! A fault of a spec, and its position.

use std::fmt;
use std::path::{Path, PathBuf};

/// The origin of a spec's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, at this line and column, both counted from 1.
    File {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
    /// In a file that the spec builds on, at this line and column.
    Base {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
    /// On the command line, in this argument of `--set`.
    Override(String),
}

/// A fault of a spec: the path of the key, the position, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Keys from the root to the value, outermost first.
    pub path: Vec<String>,
    /// The position of the value, if it was written.
    pub place: Option<Place>,
    /// The fault and what to do.
    pub message: String,
}

impl Fault {
    /// A fault without a position yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), place: None, message: message.into() }
    }

    /// The fault as seen from the parent: under `key`, at `place` unless a more precise position is
    /// known.
    pub(super) fn under(mut self, key: &str, place: &Place) -> Self {
        self.path.insert(0, key.to_owned());
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// The fault with `advice` at the end of its message.
    pub(super) fn with_advice(mut self, advice: &str) -> Self {
        self.message = format!("{}; {advice}", self.message);
        self
    }

    /// The fault at `place`, unless a more precise position is known.
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

/// An unusable spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("spec {}: {reason}", path.display())]
    File {
        /// The spec's file.
        path: PathBuf,
        /// The reason, and what to do.
        reason: String,
    },
    /// The content is wrong.
    #[error("spec {}: {fault}", at(path, fault.place.as_ref()))]
    Content {
        /// The spec's file.
        path: PathBuf,
        /// The fault, its position and what to do.
        fault: Fault,
    },
}

fn at(spec: &Path, place: Option<&Place>) -> String {
    let spec = spec.display();
    match place {
        Some(Place::File { line, column }) => format!("{spec}:{line}:{column}"),
        Some(Place::Base { path, line, column }) => {
            format!("{}:{line}:{column}, a base of {spec}", path.display())
        }
        Some(Place::Override(argument)) => format!("{spec} with --set {argument}"),
        None => spec.to_string(),
    }
}
