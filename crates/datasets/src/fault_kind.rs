//! Summarises many faults by kind, so that a user can act on them.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The number of messages kept per kind.
const FIRST: usize = 3;

/// Faults of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultKind {
    /// The common description of these faults.
    pub kind: String,
    /// How to fix them.
    pub advice: String,
    /// The number of such faults.
    pub count: usize,
    /// The messages of the first few, which name the files.
    pub first: Vec<String>,
}

/// The kinds of faults, most frequent first.
pub(crate) fn kinds(faults: &[Error]) -> Vec<FaultKind> {
    let mut kinds: Vec<FaultKind> = Vec::new();
    for fault in faults {
        let (kind, advice) = describe(fault);
        let place = kinds.iter().position(|known| known.kind == kind).unwrap_or_else(|| {
            kinds.push(FaultKind { kind, advice: advice.into(), count: 0, first: Vec::new() });
            kinds.len() - 1
        });
        let known = &mut kinds[place];
        known.count += 1;
        if known.first.len() < FIRST {
            known.first.push(fault.to_string());
        }
    }
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    kinds
}

/// The kind of a fault, and the advice about it.
fn describe(fault: &Error) -> (String, &'static str) {
    match fault {
        Error::Count { .. } | Error::Ids { .. } => (
            "the list is not the manifest's".into(),
            "look for samples that are missing or are none, or take the official list; for a part of the data, make a \
             manifest with its own count and no ids_sha256",
        ),
        Error::NoFile { what, .. } => (
            format!("{what} files are missing"),
            "compare the paths with the manifest's layout; if it is right, unpack the data again, or leave these samples out",
        ),
        Error::Read { .. } => ("files cannot be read".into(), "see to permissions and to the disk"),
        Error::Decode { kind, advice, .. } => (kind.clone(), advice),
        Error::LabelValue { .. } => (
            "label values outside the class table".into(),
            "if they are classes, give these classes their `value` in the manifest; if they mean not labelled, add them to \
             its `ignored`",
        ),
        Error::LabelColour { .. } => (
            "label colours outside the class table".into(),
            "if they are classes, add them to these classes' `label_colours` in the manifest; if they mean not labelled, \
             to its `ignored_colours`",
        ),
        Error::Palette { .. } => (
            "palettes that contradict the manifest".into(),
            "to go by the colours, set `labels_by: colour` in the manifest; else take label files of class indices",
        ),
        Error::Mixup { kind, advice, .. } => ((*kind).into(), advice),
        Error::Size { label_size, stored_size: Some(stored), .. } if stored == label_size => (
            "images are turned by their EXIF orientation, and their labels are not".into(),
            "the labels were drawn on the stored pixels: remove the orientation from the images (`exiftool -Orientation= \
             FILES`), or turn the labels",
        ),
        Error::Size { .. } => (
            "image and label differ in size".into(),
            "scale neither: obtain both from the same release of the data",
        ),
        Error::Cache { .. } => ("the cache is damaged".into(), "make it again with `robustseg data prepare`"),
        Error::Panic { .. } => ("loading panicked".into(), "report it, this is a bug"),
        _ => ("other faults".into(), "see the message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_once_with_its_first_files() {
        let decode = |path: &str, kind: &str, reason: &str| Error::Decode {
            path: path.into(),
            kind: kind.into(),
            reason: reason.into(),
            advice: "obtain them again",
        };
        let mut faults = vec![
            decode("x.png", "id N is above N", "id 300 is above 255"),
            decode("y.png", "id N is above N", "id 4711 is above 255"),
        ];
        faults.extend(
            (0..9).map(|n| decode(&format!("{n}.jpg"), "truncated JPEG", "truncated JPEG: it ends early")),
        );
        faults.push(Error::NoFile { id: "a".into(), what: "label", path: "a.png".into() });
        let found: Vec<_> =
            kinds(&faults).into_iter().map(|kind| (kind.kind, kind.count, kind.first.len())).collect();
        let expected =
            [("truncated JPEG", 9, 3), ("id N is above N", 2, 2), ("label files are missing", 1, 1)];
        assert_eq!(found, expected.map(|(kind, count, first)| (kind.to_owned(), count, first)));
        assert!(kinds(&faults)[0].first[2].starts_with("2.jpg"));
        assert_eq!(kinds(&[]), []);
    }
}
