//! How the files of a dataset lie: from a folder to the files of each sample.

pub(crate) mod cityscapes;
pub(crate) mod folders;
mod list;
pub(crate) mod pairs;
pub(crate) mod synthetic;
pub(crate) mod voc;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The files of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
    /// Where Cityscapes' tools put the same label in training ids; the label itself then holds ids.
    pub(crate) training_ids: Option<PathBuf>,
}

impl Files {
    /// Refuses a sample whose image or label does not exist.
    pub(crate) fn exist(&self) -> Result<()> {
        for (what, path) in [("image", &self.image), ("label", &self.label)] {
            if !path.is_file() {
                return Err(Error::NoFile { id: self.id.clone(), what, path: path.clone() });
            }
        }
        Ok(())
    }
}

/// The names in a folder that a system did not put there, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let fault = |source| Error::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !is_clutter(name));
    names.sort_unstable();
    Ok(names)
}

/// Whether a system gives this name to what it leaves in folders: macOS `.DS_Store` and, on foreign disks, `._NAME` next to
/// each NAME; Windows `Thumbs.db` and `desktop.ini`.
fn is_clutter(name: &str) -> bool {
    name.starts_with('.') || ["thumbs.db", "desktop.ini"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `name` without `suffix`, whose letters may be small or capital.
fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (id, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(id)
}

/// Files of samples: an id and a suffix, below a folder.
struct Place {
    folder: PathBuf,
    suffix: String,
    /// What is in folders that were listed.
    listed: RefCell<HashMap<PathBuf, Vec<String>>>,
}

impl Place {
    fn new(folder: PathBuf, suffix: &str) -> Self {
        Self { folder, suffix: suffix.to_owned(), listed: RefCell::default() }
    }

    /// The file of the sample `id`: the one of that very name, else one whose suffix differs in capital letters. Without
    /// either, the name that it should have.
    fn file(&self, id: &str) -> PathBuf {
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
