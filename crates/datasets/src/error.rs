//! The error of this crate.

use std::path::{Path, PathBuf};

use robustseg_words::counted;

use crate::data_folder::DATA_FOLDER;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its location and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest cannot be read, or its content makes no sense.
    #[error("manifest {}{}: {}{reason}", path.display(), place_of(*place), prefix(field.as_deref()))]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1, if the file is not the expected YAML.
        place: Option<(u64, u64)>,
        /// The invalid field, such as `splits.train.count`.
        field: Option<String>,
        /// The reason.
        reason: String,
    },
    /// A dataset, or a part of it, is missing.
    #[error("data {name}: {} is missing{}; to get it: {obtain}", path.display(), expected(folder.as_deref()))]
    Missing {
        /// The dataset.
        name: String,
        /// Where it was expected.
        path: PathBuf,
        /// The dataset's folder below the data folder, if the user has to provide it.
        folder: Option<String>,
        /// How to obtain it.
        obtain: String,
    },
    /// The manifest does not have this split.
    #[error("data {name}: no split `{split}`, there are {known}")]
    Split {
        /// The dataset.
        name: String,
        /// The requested split.
        split: String,
        /// The splits in the manifest.
        known: String,
    },
    /// The size of a split differs from the manifest.
    #[error("data {name}, split {split}: expected {}, found {found} in {}", counted(*expected, "sample"), path.display())]
    Count {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// The file or folder that lists the samples.
        path: PathBuf,
        /// Number of samples according to the manifest.
        expected: usize,
        /// Number of samples found.
        found: usize,
    },
    /// A split has no samples.
    #[error("data {name}, split {split}: there are no samples for it in {}", path.display())]
    Empty {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// The file or folder that lists the samples.
        path: PathBuf,
    },
    /// A folder does not show which dataset it holds.
    #[error("{}: {reason}", folder.display())]
    Unclear {
        /// The folder.
        folder: PathBuf,
        /// What is missing, and what was found.
        reason: String,
    },
    /// A split has the right size but other samples than the manifest says.
    #[error(
        "data {name}, split {split}: the ids in {} are not those that the manifest expects: the SHA-256 of the sorted \
         list is {found}, not {expected}; take the official list",
        path.display()
    )]
    Ids {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// The file or folder that lists the samples.
        path: PathBuf,
        /// SHA-256 according to the manifest.
        expected: String,
        /// SHA-256 of the ids found.
        found: String,
    },
    /// A list of samples is malformed.
    #[error("{}:{line}: {reason}", path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        reason: String,
    },
    /// A file of a sample does not exist.
    #[error("sample {id}: no {what} {}", path.display())]
    NoFile {
        /// The sample.
        id: String,
        /// `image` or `label`.
        what: &'static str,
        /// The expected path.
        path: PathBuf,
    },
    /// A second file is the image of a sample.
    #[error("sample {id}: {} is a second image of it; rename or remove one", path.display())]
    TwoFiles {
        /// The sample.
        id: String,
        /// The second file.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file is not a complete picture in a supported format.
    #[error("{}: {reason}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The common description of such faults.
        kind: String,
        /// The reason.
        reason: String,
        /// Advice for such files.
        advice: &'static str,
    },
    /// A label map has a value that is neither a class nor ignored.
    #[error(
        "{}: value {value} at x {x}, y {y} is neither one of the {classes} classes nor ignored{}",
        path.display(),
        suffix(advice.as_deref())
    )]
    LabelValue {
        /// The label file.
        path: PathBuf,
        /// The value.
        value: u8,
        /// Column of its first pixel.
        x: usize,
        /// Row of its first pixel.
        y: usize,
        /// Classes of the dataset.
        classes: usize,
        /// Advice, if the file's name reveals its content.
        advice: Option<String>,
    },
    /// A label map has a colour that is neither a class's nor ignored.
    #[error(
        "{}: the colour {colour:?} at x {x}, y {y} is neither that of a class nor one of `ignored_colours`",
        path.display()
    )]
    LabelColour {
        /// The label file.
        path: PathBuf,
        /// The colour: red, green, blue.
        colour: [u8; 3],
        /// Column of its first pixel.
        x: usize,
        /// Row of its first pixel.
        y: usize,
    },
    /// A label file's palette assigns the classes' colours to other values than the manifest.
    #[error(
        "{}: the palette contradicts the classes: value {value} has the colour {drawn_colour:?} of `{drawn}`, but is {}; \
         to go by the colours, set `labels_by: colour` in the manifest, else take label files of class indices",
        path.display(), meaning(means.as_ref())
    )]
    Palette {
        /// The label file.
        path: PathBuf,
        /// The value, an index into the palette.
        value: u8,
        /// The class with the palette's colour.
        drawn: String,
        /// That colour.
        drawn_colour: [u8; 3],
        /// The class of the value in the manifest, with its colour. `None` if the value is not a
        /// class.
        means: Option<(String, [u8; 3])>,
    },
    /// A label file contains another kind of values than its name or the layout says, or
    /// contradicts another file of the same label.
    #[error("{}: {reason}", path.display())]
    Mixup {
        /// The label file.
        path: PathBuf,
        /// The reason and the remedy.
        reason: String,
        /// The common description of such faults.
        kind: &'static str,
        /// Advice for such files.
        advice: &'static str,
    },
    /// Image and label map differ in size.
    #[error(
        "sizes differ: image {} is {}x{}, label {} is {}x{}{}",
        image.display(), image_size.0, image_size.1, label.display(), label_size.0, label_size.1,
        turned(*stored_size, *label_size)
    )]
    Size {
        /// The image file.
        image: PathBuf,
        /// Width and height of the image.
        image_size: (usize, usize),
        /// The label file.
        label: PathBuf,
        /// Width and height of the label map.
        label_size: (usize, usize),
        /// Width and height of the image as stored, if EXIF rotates it.
        stored_size: Option<(usize, usize)>,
    },
    /// A pack cannot be used or made.
    #[error("cache {}: {reason}; run `robustseg data prepare --out {}` to make it again", path.display(), folder(path))]
    Cache {
        /// The pack.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting's key.
        setting: &'static str,
        /// The reason and the valid range.
        reason: String,
    },
    /// A split is smaller than a batch.
    #[error("data {name}, split {split}: {} not fill one batch of {batch_size}", do_not(*samples))]
    Batch {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// Samples of the split.
        samples: usize,
        /// Samples of a batch.
        batch_size: usize,
    },
    /// Samples of a split are broken.
    #[error("data {name}, split {split}: {} of {samples} samples are broken: {}", faults.len(), first(faults))]
    Faults {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// Samples of the split.
        samples: usize,
        /// The fault of each of them.
        faults: Vec<String>,
    },
    /// A dataset has to be obtained by the user.
    #[error(
        "data {name}: no program can fetch it; to get it: {obtain} The folder for it is {}",
        root.display()
    )]
    NotFree {
        /// The dataset.
        name: String,
        /// The folder where it belongs.
        root: PathBuf,
        /// How to obtain it.
        obtain: String,
    },
    /// A dataset could not be fetched.
    #[error("data {name}: {reason}")]
    Fetch {
        /// The dataset.
        name: String,
        /// What went wrong, where, and what to do.
        reason: String,
    },
    /// More samples are broken than may be skipped.
    #[error(
        "data {name}, split {split}: {} of {samples} samples are broken, {most} may be skipped: {}",
        faults.len(), first(faults)
    )]
    TooManyBad {
        /// The dataset.
        name: String,
        /// The split.
        split: String,
        /// Samples of the split.
        samples: usize,
        /// Maximum number of skipped samples.
        most: usize,
        /// The fault of each of them.
        faults: Vec<String>,
    },
    /// A bug: loading a sample panicked.
    #[error("sample {id}: loading it panicked: {message}")]
    Panic {
        /// The sample.
        id: String,
        /// The message of the panic.
        message: String,
    },
}

/// An invalid field of a manifest or of a part of it, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The field's path within the checked part, such as `splits.train.count`.
    pub(crate) field: String,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The same refusal as seen from the struct that contains the part as `parent`.
    pub(crate) fn inside(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

impl Error {
    /// Whether the files of a single sample are at fault, so that another sample can replace it.
    pub(crate) fn is_of_a_sample(&self) -> bool {
        !matches!(self, Self::Cache { .. } | Self::Panic { .. })
    }
}

/// The folder of a file, for a message.
fn folder(path: &Path) -> std::path::Display<'_> {
    path.parent().unwrap_or(path).display()
}

/// Line and column after the name of a file.
fn place_of(place: Option<(u64, u64)>) -> String {
    place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
}

/// A field before the reason.
fn prefix(field: Option<&str>) -> String {
    field.map(|field| format!("{field}: ")).unwrap_or_default()
}

/// Advice after the reason.
fn suffix(advice: Option<&str>) -> String {
    advice.map(|advice| format!("; {advice}")).unwrap_or_default()
}

/// The folder where a dataset belongs.
fn expected(folder: Option<&str>) -> String {
    let place = |folder| format!("; expected it in ${DATA_FOLDER}/{folder} or in the folder given");
    folder.map_or(String::new(), place)
}

/// How an image's EXIF orientation explains a difference between its size and its label's.
fn turned(stored_size: Option<(usize, usize)>, label_size: (usize, usize)) -> String {
    match stored_size {
        Some((width, height)) if (width, height) == label_size => format!(
            "; the image is stored as {width}x{height} and its EXIF orientation turns it, so the label was drawn on the \
             stored pixels: remove the orientation from the image, or turn the label"
        ),
        Some((width, height)) => {
            format!("; the image is stored as {width}x{height} and its EXIF orientation turns it")
        }
        None => String::new(),
    }
}

/// The meaning of a value in the manifest.
fn meaning(class: Option<&(String, [u8; 3])>) -> String {
    match class {
        Some((name, colour)) => format!("`{name}`, whose colour is {colour:?}"),
        None => "no class".into(),
    }
}

/// Maximum number of faults in a message.
const MAX_TOLD: usize = 10;

/// The first of many faults as one text.
fn first(faults: &[String]) -> String {
    let told = faults[..faults.len().min(MAX_TOLD)].join("; ");
    match faults.len().saturating_sub(MAX_TOLD) {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}

/// The beginning of `3 samples do not`.
fn do_not(samples: usize) -> String {
    format!("{} {}", counted(samples, "sample"), if samples == 1 { "does" } else { "do" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_many_faults_stays_short() {
        let message = |count: usize| {
            let faults = (0..count).map(|n| format!("<{n}>")).collect();
            Error::Faults { name: "a".into(), split: "b".into(), samples: 9999, faults }.to_string()
        };
        assert!(message(2).ends_with("2 of 9999 samples are broken: <0>; <1>"), "{}", message(2));
        assert!(message(500).ends_with("<8>; <9>; and 490 more"), "{}", message(500));
    }
}
