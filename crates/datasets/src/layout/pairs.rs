//! Lists of image and label files, as `CamVid` has them.

use std::path::Path;

use super::kind::{Found, Kind, Labels, Search};
use super::list;
use crate::error::Result;
use crate::source::Files;
use crate::split::Lists;

/// Lists with an image and a label file in each line, below the dataset's folder, as `CamVid` has
/// them. A tab or spaces stand between the two; names that hold spaces need the tab. A sample's id
/// is the path of its image without the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs;

impl Kind for Pairs {
    fn name() -> &'static str {
        "pairs"
    }

    fn summary() -> &'static str {
        "lists that name an image and a label file in each line, as CamVid has them"
    }

    fn lists(&self) -> Lists {
        Lists::Required
    }

    fn labels(&self) -> Labels {
        Labels::OfManifest
    }

    fn find(&self, search: &Search<'_>) -> Result<Found> {
        let listing = search.existing(search.list())?;
        let root = search.root;
        let parse = |line: &str| match files(line)[..] {
            [image, label] => Ok(Files {
                id: Path::new(image).with_extension("").display().to_string(),
                image: root.join(image),
                label: root.join(label),
                second_label: None,
            }),
            ref words => Err(format!(
                "expected an image and a label file, found {} words; if names hold spaces, put one tab between the two",
                words.len()
            )),
        };
        Ok(Found::files(list::read(&listing, parse, |files| &files.id)?, listing))
    }
}

/// The files that a line names: the two sides of its only tab, which may hold spaces, or else its
/// words.
pub(crate) fn files(line: &str) -> Vec<&str> {
    match line.split('\t').collect::<Vec<_>>()[..] {
        [image, label] => vec![image.trim(), label.trim()],
        _ => line.split_whitespace().collect(),
    }
}

#[cfg(test)]
pub(super) fn fixture() -> super::tests::Fixture {
    use super::tests::{Fixture, IMAGE, label, text};
    Fixture {
        layout: "pairs",
        split: "file: list.txt",
        files: vec![
            ("a.png", IMAGE),
            ("a_label.png", label(&[0, 1, 255])),
            ("list.txt", text("a.png\ta_label.png\n")),
        ],
        id: "a",
        labels: &[0, 1, 255],
    }
}
