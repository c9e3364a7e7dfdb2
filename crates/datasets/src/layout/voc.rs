//! The layout of PASCAL VOC 2012.

use std::path::Path;

use super::{Files, list};
use crate::{Result, VocLabels};

/// The samples of the list `file` of ids, with the folder `root` as `VOCdevkit/VOC2012` is.
pub(crate) fn samples(root: &Path, file: &Path, labels: VocLabels) -> Result<Vec<Files>> {
    let labels = root.join(match labels {
        VocLabels::SegmentationClass => "SegmentationClass",
        VocLabels::SegmentationClassAug => "SegmentationClassAug",
    });
    let images = root.join("JPEGImages");
    list::read(&root.join(file), |words| match words {
        [id] => Ok(Files {
            id: (*id).to_owned(),
            image: images.join(format!("{id}.jpg")),
            label: labels.join(format!("{id}.png")),
        }),
        _ => Err(format!("expected one id, found {} words", words.len())),
    })
}
