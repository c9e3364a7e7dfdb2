//! The interface of layouts.

use std::path::{Path, PathBuf};

use crate::class::Class;
use crate::error::{Error, Refusal, Result};
use crate::image::LabelMap;
use crate::label_table::LabelTable;
use crate::source::{Files, Source};
use crate::split::Lists;

/// A kind of layout with its settings: everything that distinguishes one layout from another.
///
/// To add a layout, write a file in this folder that implements this trait, and add one line to the
/// registry in `mod.rs`. The settings are the fields of the type, as written in manifests.
pub(crate) trait Kind {
    /// The layout's name in manifests.
    fn name() -> &'static str
    where
        Self: Sized;

    /// The layout in one sentence, for documentation.
    fn summary() -> &'static str
    where
        Self: Sized;

    /// Label files with ids of this layout, if they can be recognised by name.
    fn id_files() -> Option<&'static IdFiles>
    where
        Self: Sized,
    {
        None
    }

    /// Whether splits name lists of their samples.
    fn lists(&self) -> Lists;

    /// The meaning of label files.
    fn labels(&self) -> Labels;

    /// Refuses settings, classes or ignored values that do not fit the layout. Fields are those of
    /// the manifest.
    fn validate(&self, classes: &[Class], ignored: &[u8]) -> Result<(), Refusal> {
        let _ = (classes, ignored);
        Ok(())
    }

    /// Whether samples are generated, so that a dataset needs no folder.
    fn is_generated(&self) -> bool {
        false
    }

    /// Finds the samples of a split, in the split's order. The files of samples need not exist.
    ///
    /// # Errors
    /// If a folder or list is missing or malformed.
    fn find(&self, search: &Search<'_>) -> Result<Found>;

    /// Compares the `label` of a sample, as read, with other files of the same label.
    fn cross_check(&self, files: &Files, label: &LabelMap) -> Result<()> {
        let _ = (files, label);
        Ok(())
    }
}

/// The meaning of a layout's label files.
#[derive(Clone, Copy)]
pub(crate) enum Labels {
    /// Defined by the manifest, by values or by colours.
    OfManifest,
    /// Values are the indices of the classes. The manifest may ignore further values.
    Indices,
    /// Values are ids, and the layout knows their classes.
    Ids {
        table: fn() -> LabelTable,
        /// Detects a file with other values than these ids, even though `table` knows all of them.
        refuse: fn(&LabelMap) -> Option<Mixup>,
    },
}

/// A label file with another kind of values than expected.
pub(crate) struct Mixup {
    /// The reason and the remedy.
    pub(crate) reason: String,
    /// The common description of such faults.
    pub(crate) kind: &'static str,
    /// Advice for such files.
    pub(crate) advice: &'static str,
}

impl Mixup {
    /// The error of the label file `path`.
    pub(crate) fn of(self, path: &Path) -> Error {
        let Self { reason, kind, advice } = self;
        Error::Mixup { path: path.to_owned(), reason, kind, advice }
    }
}

/// Label files that contain ids and could be mistaken for class indices.
pub(crate) struct IdFiles {
    /// The suffix of their names.
    pub(crate) suffix: &'static str,
    /// Their content.
    pub(crate) content: &'static str,
    /// What to use where class indices are expected.
    pub(crate) instead: &'static str,
    /// The common description of such mix-ups.
    pub(crate) kind: &'static str,
    /// Advice for files that were mixed up.
    pub(crate) advice: &'static str,
}

/// A split to find samples for.
pub(crate) struct Search<'a> {
    /// The dataset's folder.
    pub(crate) root: &'a Path,
    /// The split's name.
    pub(crate) split: &'a str,
    /// The split's list below the dataset's folder, if any.
    pub(crate) file: Option<&'a Path>,
    /// Number of samples according to the manifest.
    pub(crate) count: usize,
    /// Number of classes in the dataset.
    pub(crate) num_classes: usize,
    /// Makes the error for a file or folder that does not exist.
    pub(crate) missing: &'a dyn Fn(PathBuf) -> Error,
}

impl Search<'_> {
    /// `path`, if it exists.
    pub(crate) fn existing(&self, path: PathBuf) -> Result<PathBuf> {
        if path.exists() { Ok(path) } else { Err((self.missing)(path)) }
    }

    /// The path of the split's list, or the dataset's folder if there is no list.
    pub(crate) fn list(&self) -> PathBuf {
        self.file.map_or_else(|| self.root.to_owned(), |file| self.root.join(file))
    }
}

/// The samples of a split.
pub(crate) struct Found {
    pub(crate) source: Source,
    /// The file or folder that lists the samples. Empty for generated samples.
    pub(crate) listing: PathBuf,
}

impl Found {
    pub(crate) fn files(samples: Vec<Files>, listing: PathBuf) -> Self {
        Self { source: Source::Files(samples), listing }
    }
}
