//! Manifests that make no sense, refused.

use std::collections::BTreeSet;

use super::{Folders, LabelsBy, Layout, Manifest, Split, Synthetic};
use crate::layout::{cityscapes, synthetic};
use crate::{IGNORE_LABEL, MAX_PIXELS};

impl Manifest {
    pub(super) fn validate(&self) -> std::result::Result<(), String> {
        self.validate_classes()?;
        self.validate_values()?;
        self.validate_colours()?;
        if self.splits.is_empty() {
            return Err("splits: there are none".into());
        }
        for (number, archive) in self.archives.iter().enumerate() {
            archive.validate().map_err(|reason| format!("archives[{number}].{reason}"))?;
        }
        for (name, split) in &self.splits {
            self.validate_split(name, split)?;
        }
        let classes = self.num_classes();
        match &self.layout {
            Layout::Cityscapes if classes != cityscapes::CLASSES || !self.ignored.is_empty() => Err(format!(
                "classes: the layout cityscapes has {} classes and needs no ignored values, found {classes} and {}",
                cityscapes::CLASSES,
                self.ignored.len()
            )),
            Layout::Synthetic(_) if !(2..=synthetic::MAX_CLASSES).contains(&classes) => Err(format!(
                "classes: the layout synthetic can have 2 to {}, found {classes}",
                synthetic::MAX_CLASSES
            )),
            Layout::Synthetic(Synthetic { height, width, .. })
                if *height < 16
                    || *width < 16
                    || height.checked_mul(*width).is_none_or(|n| n > MAX_PIXELS) =>
            {
                Err(format!("layout.synthetic: scenes of {width}x{height} are too small or too large"))
            }
            Layout::Folders(Folders { images, labels }) => {
                let same =
                    images.folder == labels.folder && images.suffix.eq_ignore_ascii_case(&labels.suffix);
                let empty = images.suffix.is_empty() || labels.suffix.is_empty();
                if same || empty {
                    let what =
                        if same { "images and labels are the same files" } else { "a suffix is empty" };
                    return Err(format!("layout.folders: {what}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate_classes(&self) -> std::result::Result<(), String> {
        let classes = self.num_classes();
        if classes == 1 {
            return Err(
                "classes: expected at least 2, found 1; where there is one class, every answer is right: \
                        make what is around it a class too"
                    .into(),
            );
        }
        if !(2..=usize::from(IGNORE_LABEL)).contains(&classes) {
            return Err(format!("classes: expected 2 to 255 of them, found {classes}"));
        }
        let mut names = BTreeSet::new();
        match self.classes.iter().find(|class| !names.insert(&class.name)) {
            Some(class) => Err(format!("classes: `{}` stands there twice", class.name)),
            None => Ok(()),
        }
    }

    /// Values of label files stand for one thing each.
    fn validate_values(&self) -> std::result::Result<(), String> {
        let given = self.classes.iter().find(|class| !class.values.is_empty());
        if self.labels_by == LabelsBy::Colour {
            return match given {
                Some(class) => Err(format!("classes: `{}` has a value, but labels_by is colour", class.name)),
                None if !self.ignored.is_empty() => {
                    Err("ignored: labels_by is colour, so it has to be ignored_colours".into())
                }
                None => Ok(()),
            };
        }
        if let Some(class) = given.filter(|_| !self.has_free_labels()) {
            return Err(format!("classes: this layout knows the values, `{}` must not have one", class.name));
        }
        let mut values = BTreeSet::new();
        for (class, index) in self.classes.iter().zip(0..) {
            for value in class.values_at(index) {
                if self.ignored.contains(&value) {
                    return Err(format!("ignored: {value} is the class `{}`", class.name));
                }
                if !values.insert(value) {
                    let name = &class.name;
                    return Err(format!("classes: the value {value} of `{name}` occurs twice"));
                }
            }
        }
        Ok(())
    }

    /// Colours of label files stand for one thing each.
    fn validate_colours(&self) -> std::result::Result<(), String> {
        if self.labels_by == LabelsBy::Value {
            let given = self.classes.iter().find(|class| !class.label_colours.is_empty());
            return match given {
                Some(class) => {
                    Err(format!("classes: `{}` has label_colours, but labels_by is not colour", class.name))
                }
                None if !self.ignored_colours.is_empty() => {
                    Err("ignored_colours: labels_by is not colour".into())
                }
                None => Ok(()),
            };
        }
        if !self.has_free_labels() {
            return Err("labels_by: this layout knows how its labels are read".into());
        }
        let mut colours = BTreeSet::new();
        for class in &self.classes {
            for colour in class.colours() {
                if self.ignored_colours.contains(colour) {
                    return Err(format!("ignored_colours: {colour:?} is the class `{}`", class.name));
                }
                if !colours.insert(colour) {
                    let name = &class.name;
                    return Err(format!("classes: the colour {colour:?} of `{name}` occurs twice"));
                }
            }
        }
        Ok(())
    }

    /// Whether the manifest, and not the layout, says how label files are read.
    pub(crate) fn has_free_labels(&self) -> bool {
        matches!(self.layout, Layout::Pairs | Layout::Folders(_))
    }

    fn validate_split(&self, name: &str, split: &Split) -> std::result::Result<(), String> {
        let listed = matches!(self.layout, Layout::Voc { .. } | Layout::Pairs);
        if split.count == 0 {
            return Err(format!("splits.{name}.count: must be at least 1"));
        }
        let either = matches!(self.layout, Layout::Folders(_));
        if !either && listed != split.file.is_some() {
            let reason = if listed { "is missing" } else { "this layout has no lists" };
            return Err(format!("splits.{name}.file: {reason}"));
        }
        if split.ids_sha256.as_ref().is_some_and(|hash| !robustseg_files::is_hexadecimal(hash, 64)) {
            return Err(format!("splits.{name}.ids_sha256: expected 64 hexadecimal digits, in lower case"));
        }
        match split.may_overlap.iter().find(|other| !self.splits.contains_key(*other)) {
            Some(other) => Err(format!("splits.{name}.may_overlap: there is no split `{other}`")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = "name: a
folder: a
layout:
  voc: {labels: SegmentationClass}
classes:
  - {name: x, colour: [0, 0, 0]}
  - {name: y, colour: [1, 2, 3]}
ignored: [9]
splits:
  train: {file: t.txt, count: 3}
citation: c
licence: l
obtain: o
";

    fn message(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        Manifest::parse(&GOOD.replace(from, to), Path::new("m.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn a_manifest_survives_writing_and_reading() {
        let manifest = Manifest::parse(GOOD, Path::new("m.yaml")).unwrap();
        assert_eq!(manifest.palette(), [[0, 0, 0], [1, 2, 3]]);
        let text = serde_yaml::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(&text, Path::new("m.yaml")).unwrap(), manifest);
    }

    #[test]
    fn what_the_reader_refuses_has_line_and_column() {
        for (from, to, place, part) in [
            ("ignored: [9]", "ignore: [9]", "m.yaml:8:1", "ignore"),
            ("count: 3", "count: three", "m.yaml:10:", "three"),
            ("count: 3", "counts: 3", "m.yaml:10:", "counts"),
            ("SegmentationClass}", "Segmentation}", "m.yaml:4:", "Segmentation"),
            ("ignored: [9]", "ignored: [300]", "m.yaml:8:", "300"),
            ("ignored: [9]", "name: b", "m.yaml:8:", "name"),
        ] {
            let found = message(from, to);
            assert!(found.contains(place) && found.contains(part), "{to}: {found}");
        }
    }

    fn archive(url: &str, folder: &str) -> String {
        format!("obtain: o\narchives:\n  - {{url: '{url}', md5: '{}', folder: '{folder}'}}", "0".repeat(32))
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (from, to, part) in [
            ("ignored: [9]", "ignored: [1]", "ignored: 1 is the class `y`"),
            ("name: y", "name: x", "`x` stands there twice"),
            ("  - {name: y, colour: [1, 2, 3]}\n", "", "classes: expected at least 2, found 1"),
            ("ignored: [9]", "labels_by: colour", "labels_by: this layout knows"),
            ("ignored: [9]", "ignored_colours: [[1, 1, 1]]", "ignored_colours: labels_by is not colour"),
            ("[1, 2, 3]}", "[1, 2, 3], label_colours: [[3, 2, 1]]}", "`y` has label_colours, but labels_by"),
            ("[1, 2, 3]}", "[1, 2, 3], value: 3}", "classes: this layout knows the values"),
            ("count: 3", "count: 0", "splits.train.count"),
            ("file: t.txt, ", "", "splits.train.file: is missing"),
            ("count: 3", "count: 3, may_overlap: [val]", "no split `val`"),
            ("count: 3", "count: 3, ids_sha256: 12AB", "splits.train.ids_sha256"),
            ("obtain: o", &archive("ftp://a/b.tar", "a"), "archives[0].url: `ftp://a/b.tar`"),
            ("obtain: o", &archive("https://a/", "a"), "does not end with the name of a file"),
            ("obtain: o", &archive("https://a/..", "a"), "does not end with the name of a file"),
            ("obtain: o", &archive("https://a/b.tar", "../a"), "archives[0].folder: `../a`"),
            ("obtain: o", &archive("https://a/b.tar", "/a"), "archives[0].folder: `/a`"),
            ("obtain: o", &archive("https://a/b.tar", "a").replace("00", "0"), "archives[0].md5"),
            (
                "  voc: {labels: SegmentationClass}",
                "  cityscapes:",
                "splits.train.file: this layout has no lists",
            ),
        ] {
            let found = message(from, to);
            assert!(found.contains(part), "{to}: {found}");
        }
        assert!(Manifest::load(Path::new("none.yaml")).unwrap_err().to_string().contains("none.yaml"));
    }
}
