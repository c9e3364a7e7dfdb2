//! Lists of image and label files, as `CamVid` has them.

use std::path::Path;

use super::{Files, list};
use crate::Result;

/// The samples of `list`, whose lines name an image and a label below `root`, with a space or a tab between them. A sample's id is its image's path without
/// the extension.
pub(crate) fn samples(root: &Path, list: &Path) -> Result<Vec<Files>> {
    let parse = |line: &str| match files(line)[..] {
        [image, label] => Ok(Files {
            id: Path::new(image).with_extension("").display().to_string(),
            image: root.join(image),
            label: root.join(label),
            training_ids: None,
        }),
        ref words => Err(format!(
            "expected an image and a label file, found {} words; if names hold spaces, put one tab between the two",
            words.len()
        )),
    };
    list::read(list, parse, |files| &files.id)
}

/// The files that a line names: what stands before and behind its one tab, which may hold spaces, or else its words.
fn files(line: &str) -> Vec<&str> {
    match line.split('\t').collect::<Vec<_>>()[..] {
        [image, label] => vec![image.trim(), label.trim()],
        _ => line.split_whitespace().collect(),
    }
}
