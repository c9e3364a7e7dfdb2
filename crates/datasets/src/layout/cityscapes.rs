//! The layout of Cityscapes, and its classes.

use std::path::{Path, PathBuf};

use super::Files;
use crate::label_table::LabelTable;
use crate::{Error, Result};

/// Classes of training and evaluation.
pub(crate) const CLASSES: usize = 19;

/// Ids of label files: 0 to 33.
const IDS: usize = 34;

/// (id, training class) from road to bicycle, as in `cityscapesscripts/helpers/labels.py`.
const TRAINING_CLASSES: [(u8, u8); CLASSES] = [
    (7, 0),
    (8, 1),
    (11, 2),
    (12, 3),
    (13, 4),
    (17, 5),
    (19, 6),
    (20, 7),
    (21, 8),
    (22, 9),
    (23, 10),
    (24, 11),
    (25, 12),
    (26, 13),
    (27, 14),
    (28, 15),
    (31, 16),
    (32, 17),
    (33, 18),
];

/// The ids of label files to the training classes; all others are not labelled.
pub(crate) fn label_table() -> LabelTable {
    LabelTable::of_ids(IDS, &TRAINING_CLASSES)
}

/// The folder of the images of `split`.
pub(crate) fn images(root: &Path, split: &str) -> PathBuf {
    root.join("leftImg8bit").join(split)
}

/// The samples of `split`, sorted by city and frame. A sample's id is `CITY/CITY_SEQUENCE_FRAME`.
pub(crate) fn samples(root: &Path, split: &str) -> Result<Vec<Files>> {
    let mut samples = Vec::new();
    for city in names(&images(root, split))? {
        let folder = images(root, split).join(&city);
        if !folder.is_dir() {
            continue;
        }
        for image in names(&folder)? {
            if let Some(frame) = image.strip_suffix("_leftImg8bit.png") {
                let label = format!("{frame}_gtFine_labelIds.png");
                samples.push(Files {
                    id: format!("{city}/{frame}"),
                    image: folder.join(&image),
                    label: root.join("gtFine").join(split).join(&city).join(label),
                });
            }
        }
    }
    Ok(samples)
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
