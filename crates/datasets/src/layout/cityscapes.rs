//! The layout of Cityscapes, and its classes.

use std::path::{Path, PathBuf};

use super::kind::{Found, IdFiles, Kind, Labels, Mixup, Search};
use super::names::{names, strip_suffix};
use crate::class::Class;
use crate::decode::read_label;
use crate::error::{Refusal, Result};
use crate::image::{IGNORE_LABEL, LabelMap};
use crate::label_table::LabelTable;
use crate::source::Files;
use crate::split::Lists;

/// Cityscapes: images `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`, labels
/// `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`, whose ids become the 19 training classes. A check of
/// the dataset compares them with `*_gtFine_labelTrainIds.png` if that file exists. A sample's id
/// is `CITY/CITY_SEQUENCE_FRAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cityscapes;

/// Classes of training and evaluation.
const CLASSES: usize = 19;

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

/// Label files of ids.
static IDS_BY_NAME: IdFiles = IdFiles {
    suffix: "_labelIds.png",
    content: "Cityscapes' ids",
    instead: "take the layout `cityscapes`, or its *_labelTrainIds.png",
    kind: KIND,
    advice: ADVICE,
};

/// The common description of mix-ups of ids and training ids.
const KIND: &str = "Cityscapes' ids and training ids do not fit";

/// Advice about such files.
const ADVICE: &str = "make the label files again from the polygons";

impl Kind for Cityscapes {
    fn name() -> &'static str {
        "cityscapes"
    }

    fn summary() -> &'static str {
        "Cityscapes: `leftImg8bit`, and `gtFine` with `*_labelIds.png`; compared with `*_labelTrainIds.png` where it exists"
    }

    fn id_files() -> Option<&'static IdFiles> {
        Some(&IDS_BY_NAME)
    }

    fn lists(&self) -> Lists {
        Lists::Unknown
    }

    fn labels(&self) -> Labels {
        Labels::Ids { table: || LabelTable::of_ids(IDS, &TRAINING_CLASSES), refuse: refuse_training_ids }
    }

    fn validate(&self, classes: &[Class], ignored: &[u8]) -> Result<(), Refusal> {
        if classes.len() == CLASSES && ignored.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "the layout cityscapes has {CLASSES} classes and needs no ignored values, found {} and {}",
            classes.len(),
            ignored.len()
        );
        Err(Refusal::new("classes", reason))
    }

    fn find(&self, search: &Search<'_>) -> Result<Found> {
        let folder = search.existing(search.root.join("leftImg8bit").join(search.split))?;
        let labels = search.root.join("gtFine").join(search.split);
        Ok(Found::files(samples(&folder, &labels)?, folder))
    }

    fn cross_check(&self, files: &Files, label: &LabelMap) -> Result<()> {
        let Some(path) = files.second_label.as_ref().filter(|path| path.exists()) else { return Ok(()) };
        let drawn = read_label(path)?;
        let fault = |reason| Err(Mixup { reason, kind: KIND, advice: ADVICE }.of(path));
        if let Some(id) = drawn.data.iter().find(|value| (CLASSES as u8..IDS as u8).contains(*value)) {
            return fault(format!(
                "holds the id {id}, but training ids (0 to 18, 255) are expected by its name"
            ));
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
}

/// Refuses training ids where ids are expected. Files of training ids use 255 for unlabelled
/// pixels, which files of ids never do. They also lack the higher ids of signs, vegetation, sky and
/// vehicles.
fn refuse_training_ids(label: &LabelMap) -> Option<Mixup> {
    let is_training_id = |value: &u8| *value == IGNORE_LABEL || usize::from(*value) < CLASSES;
    let mixed_up = label.data.contains(&IGNORE_LABEL) && label.data.iter().all(is_training_id);
    let reason = "holds training ids (0 to 18, 255), but ids (0 to 33) are expected: one kind was written over the \
                  other; take the original file, or make it again from the polygons";
    mixed_up.then(|| Mixup { reason: reason.into(), kind: KIND, advice: ADVICE })
}

/// The samples with images in `images` and labels in `labels`, sorted by city and frame.
fn samples(images: &Path, labels: &Path) -> Result<Vec<Files>> {
    let mut samples = Vec::new();
    for city in names(images)? {
        let folder = images.join(&city);
        if !folder.is_dir() {
            continue;
        }
        for image in names(&folder)? {
            if let Some(frame) = strip_suffix(&image, "_leftImg8bit.png") {
                let label =
                    |kind: &str| -> PathBuf { labels.join(&city).join(format!("{frame}_gtFine_{kind}.png")) };
                samples.push(Files {
                    id: format!("{city}/{frame}"),
                    image: folder.join(&image),
                    label: label("labelIds"),
                    second_label: Some(label("labelTrainIds")),
                });
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
pub(super) fn fixture() -> super::tests::Fixture {
    use super::tests::{Fixture, IMAGE, label};
    Fixture {
        layout: "cityscapes",
        split: "",
        files: vec![
            ("leftImg8bit/train/ulm/a_leftImg8bit.png", IMAGE),
            ("gtFine/train/ulm/a_gtFine_labelIds.png", label(&[0, 7, 33])),
            ("gtFine/train/ulm/a_gtFine_labelTrainIds.png", label(&[255, 0, 18])),
        ],
        id: "ulm/a",
        labels: &[255, 0, 18],
    }
}
