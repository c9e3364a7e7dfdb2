//! A folder of images and a folder of label maps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::kind::{Found, Kind, Labels, Search};
use super::list;
use super::names::{names, strip_suffix};
use super::place::Place;
use crate::class::Class;
use crate::error::{Error, Refusal, Result};
use crate::source::Files;
use crate::split::Lists;

/// A folder of images and a folder of label maps. In each folder, the file of a sample is its id
/// followed by the folder's suffix. A split has the ids in its list `file`, one per line, in the
/// list's order. Without a list, it has the ids of all images, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Folders {
    /// The images: JPEG or PNG.
    pub images: Folder,
    /// The label maps: gray or palette PNG.
    pub labels: Folder,
    /// Whether images without a label map are left out. By default they are an error. A sample in a
    /// list needs its label map in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_unlabelled: bool,
}

/// A folder, and the suffix of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Its path below the dataset's folder. `{split}` in it stands for the split's name.
    pub folder: String,
    /// The suffix of the names, such as `.jpg` or `_labels.png`. Files with other names are
    /// ignored.
    pub suffix: String,
}

impl Folder {
    fn place(&self, search: &Search<'_>) -> Place {
        Place::new(search.root.join(self.folder.replace("{split}", search.split)), &self.suffix)
    }
}

impl Kind for Folders {
    fn name() -> &'static str {
        "folders"
    }

    fn summary() -> &'static str {
        "a folder of images and a folder of label maps, for each split or for all"
    }

    fn lists(&self) -> Lists {
        Lists::Optional
    }

    fn labels(&self) -> Labels {
        Labels::OfManifest
    }

    fn validate(&self, _: &[Class], _: &[u8]) -> Result<(), Refusal> {
        let Self { images, labels, .. } = self;
        if images.folder == labels.folder && images.suffix.eq_ignore_ascii_case(&labels.suffix) {
            return Err(Refusal::new("layout.folders", "images and labels are the same files"));
        }
        if images.suffix.is_empty() || labels.suffix.is_empty() {
            return Err(Refusal::new("layout.folders", "a suffix is empty"));
        }
        Ok(())
    }

    fn find(&self, search: &Search<'_>) -> Result<Found> {
        let (images, labels) = (self.images.place(search), self.labels.place(search));
        let listing = match search.file {
            Some(_) => search.list(),
            None => images.folder.clone(),
        };
        let listing: PathBuf = search.existing(listing)?;
        let ids = if search.file.is_some() { list::lines(&listing)? } else { ids(&images, &labels)? };
        let files =
            |id: String| Files { image: images.file(&id), label: labels.file(&id), second_label: None, id };
        let mut samples: Vec<Files> = ids.into_iter().map(files).collect();
        if self.skip_unlabelled && search.file.is_none() {
            samples.retain(|files| files.label.is_file());
        }
        Ok(Found::files(samples, listing))
    }
}

/// The ids of all images. Skips label maps in the same folder, even if their names end like those
/// of images.
fn ids(images: &Place, labels: &Place) -> Result<Vec<String>> {
    let beside = images.folder == labels.folder && labels.suffix.len() > images.suffix.len();
    let is_label = |name: &str| beside && strip_suffix(name, &labels.suffix).is_some();
    let names = names(&images.folder)?;
    let of_images = names.iter().filter(|name| !is_label(name));
    let mut found: Vec<(&str, &String)> = of_images
        .filter_map(|name| Some((strip_suffix(name, &images.suffix).filter(|id| !id.is_empty())?, name)))
        .collect();
    found.sort_unstable();
    if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (id, name) = pair[1];
        return Err(Error::TwoFiles { id: id.to_owned(), path: images.folder.join(name) });
    }
    Ok(found.into_iter().map(|(id, _)| id.to_owned()).collect())
}

#[cfg(test)]
pub(super) fn fixture() -> super::tests::Fixture {
    use super::tests::{Fixture, IMAGE, label};
    Fixture {
        layout: "{folders: {images: {folder: '{split}', suffix: .png}, labels: {folder: masks, suffix: _id.png}}}",
        split: "",
        files: vec![("train/a.png", IMAGE), ("masks/a_id.png", label(&[0, 1, 255]))],
        id: "a",
        labels: &[0, 1, 255],
    }
}
