//! Lists of image and label files, as `CamVid` has them.

use std::path::Path;

use super::{Files, list};
use crate::Result;

/// The samples of `list`, whose lines name an image and a label below `root`. A sample's id is its image's path without
/// the extension.
pub(crate) fn samples(root: &Path, list: &Path) -> Result<Vec<Files>> {
    let parse = |words: &[&str]| match words {
        [image, label] => Ok(Files {
            id: Path::new(image).with_extension("").display().to_string(),
            image: root.join(image),
            label: root.join(label),
            training_ids: None,
        }),
        _ => Err(format!("expected an image and a label file, found {} words", words.len())),
    };
    list::read(list, parse, |files| &files.id)
}
