//! The description of a dataset, read from YAML.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::Archive;
use crate::class::Class;
use crate::error::{Error, Refusal, Result};
use crate::image::{IGNORE_LABEL, LabelMap};
use crate::label_code::LabelCode;
use crate::label_rules::{LabelRules, LabelsBy};
use crate::layout::{Labels, Layout};
use crate::split::Split;
use crate::yaml;

/// Refuses a split of generated samples that lacks their number, or takes a part of them.
fn generated(Split { count, from, percent, .. }: &Split) -> Result<(), Refusal> {
    if count.is_none() {
        return Err(Refusal::new("count", "is missing: generated data has as many samples as it says"));
    }
    for (field, is_there) in [("from", from.is_some()), ("percent", percent.is_some())] {
        if is_there {
            return Err(Refusal::new(field, "has no meaning for generated data"));
        }
    }
    Ok(())
}

/// A dataset: its location, the arrangement of its files, its classes and splits.
///
/// A new dataset with PNG label maps needs only such a file and no code:
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
///   val: {count: 100, file: lists/val.txt}   # or the ids of a list, one in each line
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
/// 255 means not labelled unless it belongs to a class. For example, masks of 0 and 255 have two
/// classes, the second with `value: 255`. `value: [7, 8]` gives one class several values.
///
/// Masks that contain colours instead of values are read with `labels_by: colour`:
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The dataset's name.
    pub name: String,
    /// The dataset's folder below the data folder.
    pub folder: String,
    /// How the dataset's files are arranged.
    pub layout: Layout,
    /// The classes. The index of a class is its position here.
    pub classes: Vec<Class>,
    /// Whether label files distinguish classes by values or by colours.
    #[serde(default, skip_serializing_if = "LabelsBy::is_value")]
    pub labels_by: LabelsBy,
    /// Values of label files that mean not labelled. So does 255, unless it belongs to a class.
    #[serde(default)]
    pub ignored: Vec<u8>,
    /// Colours that mean not labelled, if label files are read by colour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_colours: Vec<[u8; 3]>,
    /// The splits by name.
    pub splits: BTreeMap<String, Split>,
    /// What to cite.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub citation: String,
    /// The terms of use.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// How to obtain the dataset.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub obtain: String,
    /// Archives that may be downloaded freely.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// The file of the manifest.
    #[serde(skip)]
    path: PathBuf,
}

impl Manifest {
    /// Reads the manifest in the file `path`.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the file cannot be read or is larger than 1 MiB. It has line and
    /// column if the file is not the expected YAML, and a field if that field makes no sense.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&yaml::read(path)?, path)
    }

    /// Parses the manifest in `text`, which comes from the file `path`.
    ///
    /// # Errors
    /// The errors of [`Manifest::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut manifest: Self = yaml::parse(text, path)?;
        path.clone_into(&mut manifest.path);
        manifest.require_valid()?;
        Ok(manifest)
    }

    /// A manifest without classes, to be filled in, for the file `path`.
    pub(crate) fn unfinished(
        name: &str,
        layout: Layout,
        splits: BTreeMap<String, Split>,
        path: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            folder: name.to_owned(),
            layout,
            classes: Vec::new(),
            labels_by: LabelsBy::default(),
            ignored: Vec::new(),
            ignored_colours: Vec::new(),
            splits,
            citation: String::new(),
            licence: String::new(),
            obtain: String::new(),
            archives: Vec::new(),
            path: path.to_owned(),
        }
    }

    /// Refuses a manifest that makes no sense.
    ///
    /// # Errors
    /// [`Error::Manifest`] with the field.
    pub(crate) fn require_valid(&self) -> Result<()> {
        self.validate().map_err(|Refusal { field, reason }| Error::Manifest {
            path: self.path.clone(),
            place: None,
            field: Some(field),
            reason,
        })
    }

    /// The JSON schema of a manifest, for editors.
    #[cfg(feature = "schema")]
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// The file of the manifest.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Whether the manifest allows the splits `first` and `second`, possibly the same one, to share
    /// samples.
    pub fn may_overlap(&self, first: &str, second: &str) -> bool {
        let allows = |split: &str, other: &str| {
            self.splits.get(split).is_some_and(|split| split.may_overlap.iter().any(|name| name == other))
        };
        allows(first, second) || allows(second, first)
    }

    /// Whether the samples are generated, so that the dataset needs no folder.
    pub fn is_generated(&self) -> bool {
        self.layout.kind().is_generated()
    }

    /// The same dataset in a canonical form: each class has its values or colours, whichever count,
    /// and ignored ones are sorted. Two manifests with the same meaning then differ at most in
    /// descriptions.
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut meaning = self.clone();
        let free = self.has_free_labels();
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

    /// How to get the data into the folder `root`, if that is known. If the data can be downloaded,
    /// this is the command.
    pub fn how_to_get(&self, root: Option<&Path>) -> String {
        let Some(archive) = self.archives.first() else {
            let words: Vec<&str> = self.obtain.split_whitespace().collect();
            if words.is_empty() {
                return format!("the manifest {} does not say", self.path.display());
            }
            return words.join(" ");
        };
        // Archives are unpacked above the folders that they contain.
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

    /// The error for a missing `path`, a part of this dataset in the folder `root`.
    pub(crate) fn missing(&self, root: &Path, path: PathBuf) -> Error {
        let folder = self.archives.is_empty().then(|| self.folder.clone());
        Error::Missing { name: self.name.clone(), path, folder, obtain: self.how_to_get(Some(root)) }
    }

    /// How to read the dataset's label files.
    pub(crate) fn label_code(&self) -> LabelCode {
        LabelCode::new(self.layout.kind().labels(), &self.label_rules())
    }

    fn label_rules(&self) -> LabelRules<'_> {
        let Self { classes, labels_by, ignored, ignored_colours, .. } = self;
        LabelRules { classes, labels_by: *labels_by, ignored, ignored_colours }
    }

    /// Whether the manifest, rather than the layout, defines the meaning of label files.
    fn has_free_labels(&self) -> bool {
        matches!(self.layout.kind().labels(), Labels::OfManifest)
    }

    fn validate(&self) -> Result<(), Refusal> {
        self.label_rules().validate(self.has_free_labels())?;
        if self.splits.is_empty() {
            return Err(Refusal::new("splits", "must have at least one"));
        }
        for (number, archive) in self.archives.iter().enumerate() {
            archive.validate().map_err(|refusal| refusal.inside(&format!("archives[{number}]")))?;
        }
        let layout = self.layout.kind();
        for (name, split) in &self.splits {
            let refusal = split.validate(layout.lists(), |other| self.splits.contains_key(other));
            let refuse = |refusal: Refusal| refusal.inside(&format!("splits.{name}"));
            refusal.map_err(refuse)?;
            if layout.is_generated() {
                generated(split).map_err(refuse)?;
            }
        }
        layout.validate(&self.classes, &self.ignored)
    }

    /// Reads a label file of this dataset. The result contains class indices, and
    /// [`IGNORE_LABEL`](crate::IGNORE_LABEL) for unlabelled pixels.
    ///
    /// # Errors
    /// If the file cannot be read or decoded, or holds a value or colour that the manifest does not
    /// know, or a palette that contradicts it.
    pub fn read_label(&self, path: &Path) -> Result<LabelMap> {
        self.label_code().read(path)
    }
}
