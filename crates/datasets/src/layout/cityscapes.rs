//! The layout of Cityscapes, and its classes.

use std::path::{Path, PathBuf};

use super::{Files, names, strip_suffix};
use crate::label_table::LabelTable;
use crate::{Error, IGNORE_LABEL, LabelMap, Result, read_label};

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

/// Whether the values of a label file are training ids, where ids are expected. Training ids have 255 for what is not
/// labelled, which no file of ids has, and end where ids go on with signs, vegetation, sky and vehicles.
pub(crate) fn are_training_ids(label: &LabelMap) -> bool {
    let beyond = CLASSES as u8..IDS as u8;
    label.data.contains(&IGNORE_LABEL)
        && label.data.iter().all(|value| *value == IGNORE_LABEL || *value < beyond.start)
}

/// Holds the training classes of a sample to its file of training ids, where there is one.
pub(crate) fn cross_check(files: &Files, label: &LabelMap) -> Result<()> {
    let Some(path) = files.training_ids.as_ref().filter(|path| path.exists()) else { return Ok(()) };
    let drawn = read_label(path)?;
    let fault = |reason| Err(Error::TrainingIds { path: path.clone(), reason });
    if let Some(id) = drawn.data.iter().find(|value| (CLASSES as u8..IDS as u8).contains(*value)) {
        return fault(format!("holds the id {id}, but training ids (0 to 18, 255) are expected by its name"));
    }
    if (drawn.width, drawn.height) != (label.width, label.height) {
        return fault(format!(
            "is {}x{}, but {} is {}x{}",
            drawn.width,
            drawn.height,
            files.label.display(),
            label.width,
            label.height
        ));
    }
    match drawn.data.iter().zip(&label.data).position(|(drawn, class)| drawn != class) {
        None => Ok(()),
        Some(pixel) => fault(format!(
            "has training id {} at x {}, y {}, but the ids in {} give {} there; make it again from the polygons",
            drawn.data[pixel],
            pixel % label.width,
            pixel / label.width,
            files.label.display(),
            label.data[pixel]
        )),
    }
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
            if let Some(frame) = strip_suffix(&image, "_leftImg8bit.png") {
                let labels = root.join("gtFine").join(split).join(&city);
                samples.push(Files {
                    id: format!("{city}/{frame}"),
                    image: folder.join(&image),
                    label: labels.join(format!("{frame}_gtFine_labelIds.png")),
                    training_ids: Some(labels.join(format!("{frame}_gtFine_labelTrainIds.png"))),
                });
            }
        }
    }
    Ok(samples)
}
