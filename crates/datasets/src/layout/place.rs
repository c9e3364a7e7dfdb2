//! Files named by an id and a suffix, below a folder.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use super::names::{names, strip_suffix};

/// Files of samples, named by an id and a suffix, below a folder.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) suffix: String,
    /// The names in the folders listed so far.
    listed: RefCell<HashMap<PathBuf, Vec<String>>>,
}

impl Place {
    pub(super) fn new(folder: PathBuf, suffix: &str) -> Self {
        Self { folder, suffix: suffix.to_owned(), listed: RefCell::default() }
    }

    /// The file of the sample `id`: the file with exactly that name, else one whose suffix differs
    /// only in case. If neither exists, the expected path.
    pub(super) fn file(&self, id: &str) -> PathBuf {
        let path = self.folder.join(format!("{id}{}", self.suffix));
        if path.exists() {
            return path;
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path };
        let mut listed = self.listed.borrow_mut();
        let there = listed.entry(folder.to_owned()).or_insert_with(|| names(folder).unwrap_or_default());
        let name = name.to_string_lossy();
        let stem = strip_suffix(&name, &self.suffix);
        let found = there.iter().find(|other| stem.is_some() && strip_suffix(other, &self.suffix) == stem);
        found.map_or_else(|| path.clone(), |name| folder.join(name))
    }
}
