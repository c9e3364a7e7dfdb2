//! What a dataset consists of, read from YAML.

mod archive;
mod class;
mod validation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use archive::Archive;
pub use class::Class;

use crate::label_code::LabelCode;
use crate::{Error, IGNORE_LABEL, LabelMap, Result, yaml};

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
///
/// 255 means not labelled unless a class has it: masks of 0 and 255 have two classes, the second with `value: 255`.
/// `value: [7, 8]` makes one class of several values.
///
/// Masks that hold colours in place of values are read with `labels_by: colour`:
///
/// ```
/// # use robustseg_datasets::Manifest;
/// # let manifest = Manifest::parse(
/// #     "name: streets
/// # folder: streets
/// # layout: pairs
/// # splits: {train: {file: train.txt, count: 3}}
/// # citation: none
/// # licence: none
/// # obtain: none
/// labels_by: colour
/// classes:
///   - {name: road, colour: [128, 64, 128]}
///   - {name: car, colour: [0, 0, 142], label_colours: [[0, 0, 142], [0, 0, 70]]} # two colours, one class
/// ignored_colours: [[0, 0, 0]]     # not labelled; any other colour is an error
/// #     ",
/// #     "streets.yaml".as_ref(),
/// # )?;
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
    /// Whether label files say by their values or by their colours what is where.
    #[serde(default, skip_serializing_if = "LabelsBy::is_value")]
    pub labels_by: LabelsBy,
    /// Values of label files that mean not labelled. 255 is one more, unless a class has it.
    #[serde(default)]
    pub ignored: Vec<u8>,
    /// Colours of label files that mean not labelled, where these are read by colour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_colours: Vec<[u8; 3]>,
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
    /// The file that it was read from.
    #[serde(skip)]
    path: PathBuf,
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

/// By what label files say what is where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelsBy {
    /// By gray values, or by palette indices. A palette that gives the colours of the classes to other classes is an error.
    #[default]
    Value,
    /// By colours, as RGB masks do; a palette's indices then have no meaning. For the layouts `pairs` and `folders`.
    Colour,
}

impl LabelsBy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_value(&self) -> bool {
        *self == Self::Value
    }
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
    /// Splits that share samples with it on purpose. With its own name among them it may be trained and validated on alike,
    /// as for a test whether a network can learn a few images by heart.
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
        let mut manifest: Self = yaml::parse(text, path)?;
        path.clone_into(&mut manifest.path);
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

    /// Whether the splits `first` and `second`, which may be one, share samples on purpose.
    pub fn may_overlap(&self, first: &str, second: &str) -> bool {
        let allows = |split: &str, other: &str| {
            self.splits.get(split).is_some_and(|split| split.may_overlap.iter().any(|name| name == other))
        };
        allows(first, second) || allows(second, first)
    }

    /// Whether its samples are generated, so that it needs no folder.
    pub fn is_generated(&self) -> bool {
        matches!(self.layout, Layout::Synthetic(_))
    }

    /// The same dataset in one of the many ways to write it: values and colours of label files are given for each class where
    /// they count, and those that are ignored are sorted. Two manifests of one meaning differ at most in what describes
    /// the data.
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut meaning = self.clone();
        let free = matches!(self.layout, Layout::Pairs | Layout::Folders(_));
        for (class, index) in meaning.classes.iter_mut().zip(0..) {
            if self.labels_by == LabelsBy::Colour {
                class.label_colours = class.colours().to_vec();
                class.label_colours.sort_unstable();
            } else if free {
                class.values = class.values_at(index);
                class.values.sort_unstable();
            }
        }
        let taken = meaning.classes.iter().any(|class| class.values.contains(&IGNORE_LABEL));
        meaning.ignored.retain(|value| taken || *value != IGNORE_LABEL);
        meaning.ignored.sort_unstable();
        meaning.ignored.dedup();
        meaning.ignored_colours.sort_unstable();
        meaning.ignored_colours.dedup();
        meaning
    }

    /// How to get the data into the folder `root`, if that is known: the command, where a program can fetch it.
    pub fn how_to_get(&self, root: Option<&Path>) -> String {
        let Some(archive) = self.archives.first() else {
            return self.obtain.split_whitespace().collect::<Vec<_>>().join(" ");
        };
        // Archives are unpacked above the folders that they hold.
        let above = |root: &Path| {
            let above = root
                .ancestors()
                .nth(archive.folder.components().count())
                .filter(|_| root.ends_with(&archive.folder));
            above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(root).display().to_string()
        };
        let (manifest, root) = (self.path.display(), root.map_or("DIR".into(), above));
        format!("robustseg data fetch {manifest} --root {root}")
    }

    /// The error of `path`, a part of this dataset in the folder `root`, not being there.
    pub(crate) fn missing(&self, root: &Path, path: PathBuf) -> Error {
        let folder = self.archives.is_empty().then(|| self.folder.clone());
        Error::Missing { name: self.name.clone(), path, folder, obtain: self.how_to_get(Some(root)) }
    }

    /// How its label files are read.
    pub(crate) fn label_code(&self) -> LabelCode {
        LabelCode::of(self)
    }

    /// Reads a label file of this dataset: class indices, and [`IGNORE_LABEL`](crate::IGNORE_LABEL) where nothing is
    /// labelled.
    ///
    /// # Errors
    /// If the file cannot be read or decoded, or holds a value or colour that the manifest does not know, or a palette
    /// that contradicts it.
    pub fn read_label(&self, path: &Path) -> Result<LabelMap> {
        self.label_code().read(path)
    }
}
