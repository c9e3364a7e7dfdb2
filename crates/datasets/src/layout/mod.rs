//! How the files of a dataset lie: from a folder to the files of each sample.

pub(crate) mod cityscapes;
pub(crate) mod folders;
mod list;
pub(crate) mod pairs;
pub(crate) mod synthetic;
pub(crate) mod voc;

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

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let fault = |source| Error::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
