//! How the files of a dataset lie: from a folder to the files of each sample.

pub(crate) mod cityscapes;
mod list;
pub(crate) mod pairs;
pub(crate) mod synthetic;
pub(crate) mod voc;

use std::path::PathBuf;

use crate::{Error, Result};

/// The files of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
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
