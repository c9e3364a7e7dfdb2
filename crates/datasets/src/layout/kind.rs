//! The interface of layouts.

use std::path::{Path, PathBuf};

use crate::class::Class;
use crate::error::{Error, Refusal, Result};
use crate::image::LabelMap;
use crate::label_table::LabelTable;
use crate::source::{Files, Source};
use crate::split::Lists;

/// A kind of layout with its settings: everything in which one layout differs from another.
///
/// A new layout is a file in this folder that implements this trait, and one line in the registry
/// in `mod.rs`. Its settings are the fields of the type, as manifests write them.
pub(crate) trait Kind {
    /// The layout's name in manifests.
    fn name() -> &'static str
    where
        Self: Sized;

    /// The layout in one sentence, for documentation.
    fn summary() -> &'static str
    where
        Self: Sized;

    /// Label files that hold ids of this layout, if their names tell.
    fn id_files() -> Option<&'static IdFiles>
    where
        Self: Sized,
    {
        None
    }

    /// Whether splits name lists of their samples.
    fn lists(&self) -> Lists;

    /// What label files mean.
    fn labels(&self) -> Labels;

    /// Refuses settings, classes or ignored values that the layout cannot have. Fields are those of
    /// the manifest.
    fn validate(&self, classes: &[Class], ignored: &[u8]) -> Result<(), Refusal> {
        let _ = (classes, ignored);
        Ok(())
    }

    /// Whether samples are generated, so that a dataset needs no folder.
    fn is_generated(&self) -> bool {
        false
    }

    /// Finds the samples of a split, in the split's order. Files of samples need not exist.
    ///
    /// # Errors
    /// If a folder or list is missing or malformed.
    fn find(&self, search: &Search<'_>) -> Result<Found>;

    /// Compares the `label` of a sample, as it was read, with other files of the same label.
    fn cross_check(&self, files: &Files, label: &LabelMap) -> Result<()> {
        let _ = (files, label);
        Ok(())
    }
}

/// What the label files of a layout mean.
#[derive(Clone, Copy)]
pub(crate) enum Labels {
    /// The manifest says it: by values or by colours.
    OfManifest,
    /// Values are the indices of the classes. The manifest may ignore further values.
    Indices,
    /// Values are ids, whose classes the layout knows.
    Ids {
        table: fn() -> LabelTable,
        /// What is wrong with a file of other values than these ids, although `table` knows all of
        /// them.
        refuse: fn(&LabelMap) -> Option<Mixup>,
    },
}

/// Another kind of values than expected in a label file.
pub(crate) struct Mixup {
    /// What is wrong, and what to do.
    pub(crate) reason: String,
    /// What such faults have in common.
    pub(crate) kind: &'static str,
    /// What to do about files like it.
    pub(crate) advice: &'static str,
}

impl Mixup {
    /// The error of the label file `path`.
    pub(crate) fn of(self, path: &Path) -> Error {
        let Self { reason, kind, advice } = self;
        Error::Mixup { path: path.to_owned(), reason, kind, advice }
    }
}

/// Label files that hold ids and look like files of class indices.
pub(crate) struct IdFiles {
    /// How their names end.
    pub(crate) suffix: &'static str,
    /// What they hold.
    pub(crate) content: &'static str,
    /// What to do where class indices are expected.
    pub(crate) instead: &'static str,
    /// What such mix-ups have in common.
    pub(crate) kind: &'static str,
    /// What to do about files that were mixed up.
    pub(crate) advice: &'static str,
}

/// A split whose samples are looked for.
pub(crate) struct Search<'a> {
    /// The dataset's folder.
    pub(crate) root: &'a Path,
    /// The split's name.
    pub(crate) split: &'a str,
    /// The split's list below the dataset's folder, if there is one.
    pub(crate) file: Option<&'a Path>,
    /// How many samples the manifest promises.
    pub(crate) count: usize,
    /// Classes of the dataset.
    pub(crate) num_classes: usize,
    /// Makes the error of a file or folder that does not exist.
    pub(crate) missing: &'a dyn Fn(PathBuf) -> Error,
}

impl Search<'_> {
    /// `path`, if it exists.
    pub(crate) fn existing(&self, path: PathBuf) -> Result<PathBuf> {
        if path.exists() { Ok(path) } else { Err((self.missing)(path)) }
    }

    /// The path of the split's list. A split without one has the dataset's folder.
    pub(crate) fn list(&self) -> PathBuf {
        self.file.map_or_else(|| self.root.to_owned(), |file| self.root.join(file))
    }
}

/// The samples of a split.
pub(crate) struct Found {
    pub(crate) source: Source,
    /// The file or folder that says which samples there are; empty for generated ones.
    pub(crate) listing: PathBuf,
}

impl Found {
    pub(crate) fn files(samples: Vec<Files>, listing: PathBuf) -> Self {
        Self { source: Source::Files(samples), listing }
    }
}
