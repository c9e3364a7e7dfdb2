//! What a dataset consists of, read from YAML.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::label_table::LabelTable;
use crate::layout::{cityscapes, synthetic};
use crate::{Error, IGNORE_LABEL, MAX_PIXELS, Result, yaml};

/// The environment variable that names the folder of all datasets.
pub const DATA_FOLDER: &str = "ROBUSTSEG_DATA";

/// A dataset: where it is, how its files lie, its classes and splits.
///
/// A new dataset whose label maps are PNGs is one such file and no code:
///
/// ```
/// # use robustseg_datasets::Manifest;
/// let manifest = Manifest::parse(
///     "name: fields
/// folder: fields                   # below $ROBUSTSEG_DATA
/// layout:
///   folders:
///     images:
///       folder: '{split}/images'   # fields/train/images/0017.jpg
///       suffix: .jpg
///     labels:
///       folder: '{split}/labels'   # fields/train/labels/0017_ids.png
///       suffix: _ids.png
/// classes:                         # in the order of the network's outputs
///   - {name: soil, colour: [120, 80, 40], value: 10}   # 10 in the label files; without `value`, the class's index
///   - {name: crop, colour: [40, 160, 60], value: 20}
///   - {name: weed, colour: [200, 60, 160], value: 30}
/// ignored: [0]                     # not labelled, as 255 is; any other value is an error
/// splits:
///   train: {count: 400}            # all images of train/images
///   val: {count: 100, file: lists/val.txt}   # or the ids of a list, one a line
/// citation: none
/// licence: CC BY 4.0
/// obtain: ask the institute for fields.zip and unpack it
/// ",
///     "fields.yaml".as_ref(),
/// )?;
/// assert_eq!(manifest.num_classes(), 3);
/// # Ok::<(), robustseg_datasets::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The dataset's name.
    pub name: String,
    /// The dataset's folder below [`DATA_FOLDER`].
    pub folder: String,
    /// How its files lie.
    pub layout: Layout,
    /// Its classes; a class's index is its place here.
    pub classes: Vec<Class>,
    /// Values of label files, besides 255, that mean not labelled.
    #[serde(default)]
    pub ignored: Vec<u8>,
    /// Its splits by name.
    pub splits: BTreeMap<String, Split>,
    /// What to cite.
    pub citation: String,
    /// Under which terms it may be used.
    pub licence: String,
    /// How a person gets it.
    pub obtain: String,
    /// Where a program gets it, if it may be had freely.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
}

/// A tar file, gzipped or not, that may be downloaded freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its address, by `http` or `https`.
    pub url: String,
    /// MD5 of the file, as its publisher announces it: 32 hexadecimal digits, in lower case.
    pub md5: String,
    /// Its size in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The folder of the archive that is wanted; it keeps its path below the folder that is unpacked in.
    pub folder: PathBuf,
}

impl Archive {
    /// The last part of its address.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    fn validate(&self) -> std::result::Result<(), String> {
        let plain = |component| matches!(component, Component::Normal(_));
        let name = self.file_name();
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(format!("url: `{}` is no address by http or https", self.url));
        }
        if name.is_empty() || name.starts_with('.') || name.contains(['?', '#', '\\', ':']) {
            return Err(format!("url: `{}` does not end with the name of a file", self.url));
        }
        if !is_hex(&self.md5, 32) {
            return Err("md5: expected 32 hexadecimal digits, in lower case".into());
        }
        if self.folder.as_os_str().is_empty() || !self.folder.components().all(plain) {
            return Err(format!("folder: `{}` is no path below the archive's", self.folder.display()));
        }
        Ok(())
    }
}

/// How the files of a dataset lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layout {
    /// PASCAL VOC 2012 and SBD: `JPEGImages/ID.jpg`, labels, lists of ids. The dataset's folder is `VOCdevkit/VOC2012`,
    /// or the one that both archives were unpacked in; lists are below `VOC2012`.
    Voc {
        /// Whose label maps.
        labels: VocLabels,
    },
    /// Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`, whose
    /// ids become the 19 training classes. A check holds `*_gtFine_labelTrainIds.png` to them where it is there.
    Cityscapes,
    /// Lists with an image and a label file a line, as `CamVid` has them.
    Pairs,
    /// A folder of images and one of label maps, for each split or for all.
    Folders(Folders),
    /// Nothing on disk: scenes are generated.
    Synthetic(Synthetic),
}

/// A folder of images and one of label maps. A split's samples are those of its list `file`, one id a line; without a list
/// there is one for each image. The image of a sample is its id and the suffix, below the folder, and so is its label map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folders {
    /// The images: JPEG or PNG.
    pub images: Folder,
    /// The label maps: gray or palette PNG.
    pub labels: Folder,
}

/// A folder, and how the files that count in it end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Its path below the dataset's folder; `{split}` in it stands for the split's name.
    pub folder: String,
    /// The end of the names, such as `.jpg` or `_labels.png`.
    pub suffix: String,
}

/// Where VOC's label maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VocLabels {
    /// VOC's own: the palette PNGs of the folder `SegmentationClass`.
    SegmentationClass,
    /// VOC's and SBD's: the PNGs of the folder `SegmentationClassAug`. Where there is no such folder, the archives as
    /// they come: `SegmentationClass` for VOC's train and val, `benchmark_RELEASE/dataset/cls/ID.mat` for all others;
    /// the list `trainaug.txt`, unless it is there, is then VOC's train and SBD's train and val without VOC's val.
    SegmentationClassAug,
}

/// Size and seed of generated scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Rows of each scene, 16 or more.
    pub height: usize,
    /// Pixels in a row of each scene, 16 or more.
    pub width: usize,
    /// Decides all scenes.
    pub seed: u64,
}

/// A class of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its colour in pictures: red, green, blue.
    pub colour: [u8; 3],
    /// Its value in label files, for the layouts `pairs` and `folders`; by default the class's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u8>,
}

/// A split of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The list of its samples, below the dataset's folder; for layouts that have lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How many samples it has.
    pub count: usize,
    /// SHA-256 of its sorted ids, one a line, as 64 lower-case hexadecimal digits: that of the official list, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_sha256: Option<String>,
    /// Other splits that share samples with it on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_overlap: Vec<String>,
}

impl Manifest {
    /// The manifest in the file `path`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the file cannot be read, is larger than 1 MiB or makes no sense; with line and column if
    /// it is not the YAML expected.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&yaml::read(path)?, path)
    }

    /// The manifest that `text` holds; errors say that it comes from `path`.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let manifest: Self = yaml::parse(text, path)?;
        manifest
            .validate()
            .map_err(|reason| Error::Manifest { place: path.display().to_string(), reason })?;
        Ok(manifest)
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.classes.len()
    }

    /// The classes' colours, by index.
    pub fn palette(&self) -> Vec<[u8; 3]> {
        self.classes.iter().map(|class| class.colour).collect()
    }

    /// The splits' names, in alphabetical order.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.keys().map(String::as_str)
    }

    /// Whether its samples are generated, so that it needs no folder.
    pub fn is_generated(&self) -> bool {
        matches!(self.layout, Layout::Synthetic(_))
    }

    /// The error of this dataset's `path` not being there.
    pub(crate) fn missing(&self, path: PathBuf) -> Error {
        Error::Missing {
            name: self.name.clone(),
            path,
            folder: self.folder.clone(),
            obtain: self.obtain.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// What the values of its label files mean.
    pub(crate) fn label_table(&self) -> LabelTable {
        match self.layout {
            Layout::Cityscapes => cityscapes::label_table(),
            _ => LabelTable::of_values(self.values(), &self.ignored),
        }
    }

    /// The classes' values in label files.
    fn values(&self) -> impl Iterator<Item = u8> {
        self.classes.iter().zip(0..).map(|(class, index)| class.value.unwrap_or(index))
    }

    fn validate(&self) -> std::result::Result<(), String> {
        let classes = self.num_classes();
        if !(1..=usize::from(IGNORE_LABEL)).contains(&classes) {
            return Err(format!("classes: expected 1 to 255 of them, found {classes}"));
        }
        let mut names = BTreeSet::new();
        if let Some(class) = self.classes.iter().find(|class| !names.insert(&class.name)) {
            return Err(format!("classes: `{}` stands there twice", class.name));
        }
        let mut values = BTreeSet::new();
        for (class, value) in self.classes.iter().zip(self.values()) {
            if self.ignored.contains(&value) || value == IGNORE_LABEL {
                return Err(format!("ignored: {value} is the class `{}`", class.name));
            }
            if !values.insert(value) {
                return Err(format!("classes: the value {value} of `{}` is another's, too", class.name));
            }
        }
        let free = matches!(self.layout, Layout::Pairs | Layout::Folders(_));
        if let Some(class) = self.classes.iter().find(|class| class.value.is_some() && !free) {
            return Err(format!("classes: this layout knows the values, `{}` must not have one", class.name));
        }
        if self.splits.is_empty() {
            return Err("splits: there are none".into());
        }
        for (number, archive) in self.archives.iter().enumerate() {
            archive.validate().map_err(|reason| format!("archives[{number}].{reason}"))?;
        }
        for (name, split) in &self.splits {
            self.validate_split(name, split)?;
        }
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
                let same = images == labels;
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
        if split.ids_sha256.as_ref().is_some_and(|hash| !is_hex(hash, 64)) {
            return Err(format!("splits.{name}.ids_sha256: expected 64 hexadecimal digits, in lower case"));
        }
        match split.may_overlap.iter().find(|other| !self.splits.contains_key(*other)) {
            Some(other) => Err(format!("splits.{name}.may_overlap: there is no split `{other}`")),
            None => Ok(()),
        }
    }
}

/// Whether `text` is `digits` hexadecimal digits, in lower case.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
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
