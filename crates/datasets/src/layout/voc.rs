//! The layout of PASCAL VOC 2012, and of SBD's additional labels.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kind::{Found, Kind, Labels, Search};
use super::list;
use super::place::Place;
use crate::error::Result;
use crate::source::Files;
use crate::split::Lists;

/// The list for SBD's labels. It is computed if VOC's folder lacks it.
const TRAINAUG: &str = "trainaug.txt";

/// PASCAL VOC 2012 and SBD: images `JPEGImages/ID.jpg`, labels, and lists of ids. The dataset's
/// folder is `VOCdevkit/VOC2012`, or the folder in which both archives were unpacked. Lists are
/// below `VOC2012`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Voc {
    /// Which label maps to use.
    pub labels: VocLabels,
}

/// The location of VOC's label maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum VocLabels {
    /// VOC's own: the palette PNGs in the folder `SegmentationClass`.
    SegmentationClass,
    /// VOC's and SBD's: the PNGs in the folder `SegmentationClassAug`. Without that folder, the
    /// archives as published are used: `SegmentationClass` for VOC's train and val, and
    /// `benchmark_RELEASE/dataset/cls/ID.mat` for all other ids. If the list `trainaug.txt` is
    /// missing too, it consists of VOC's train and SBD's train and val, without VOC's val.
    SegmentationClassAug,
}

impl Kind for Voc {
    fn name() -> &'static str {
        "voc"
    }

    fn summary() -> &'static str {
        "PASCAL VOC 2012, alone or with SBD: `JPEGImages`, labels as palette PNGs or SBD's `.mat` files, lists of ids"
    }

    fn lists(&self) -> Lists {
        Lists::Required
    }

    fn labels(&self) -> Labels {
        Labels::Indices
    }

    fn find(&self, search: &Search<'_>) -> Result<Found> {
        let file = search.file.unwrap_or(Path::new(""));
        let (samples, listing) = Tree::find(search).samples(file, self.labels)?;
        Ok(Found::files(samples, listing))
    }
}

/// The folders of VOC and SBD.
struct Tree<'a> {
    /// `VOCdevkit/VOC2012`.
    voc: PathBuf,
    /// `benchmark_RELEASE/dataset`.
    sbd: PathBuf,
    search: &'a Search<'a>,
}

impl<'a> Tree<'a> {
    /// The dataset's folder is either the one with both unpacked archives, or `VOCdevkit/VOC2012`
    /// in it.
    fn find(search: &'a Search<'a>) -> Self {
        let root = search.root;
        let below = root.join("VOCdevkit/VOC2012");
        let (voc, unpacked) = if below.is_dir() {
            (below, root.to_owned())
        } else {
            let unpacked = root.ancestors().nth(2).filter(|folder| !folder.as_os_str().is_empty());
            (root.to_owned(), unpacked.map_or_else(|| root.join("../.."), Path::to_owned))
        };
        Self { voc, sbd: unpacked.join("benchmark_RELEASE/dataset"), search }
    }

    /// The samples in the list `file` of ids, and the list's path.
    fn samples(&self, file: &Path, labels: VocLabels) -> Result<(Vec<Files>, PathBuf)> {
        let images = Place::new(self.search.existing(self.voc.join("JPEGImages"))?, ".jpg");
        let ready = self.voc.join(match labels {
            VocLabels::SegmentationClass => "SegmentationClass",
            VocLabels::SegmentationClassAug => "SegmentationClassAug",
        });
        let official = labels == VocLabels::SegmentationClassAug && !ready.exists();
        let list = self.voc.join(file);
        let computed = official && !list.exists() && list.ends_with(TRAINAUG);
        let (ids, listing) = if computed {
            (self.trainaug()?, self.sbd.join("train.txt"))
        } else {
            (list::ids(&self.search.existing(list.clone())?)?, list)
        };
        // VOC has its own labels only for its train and val. They mark borders, so they take
        // precedence.
        let of_voc = if official { Some(self.union(&[self.train(), self.val()])?) } else { None };
        let label = |id: &str| match &of_voc {
            None => ready.join(format!("{id}.png")),
            Some(ids) if ids.contains(id) => self.voc.join(format!("SegmentationClass/{id}.png")),
            Some(_) => self.sbd.join(format!("cls/{id}.mat")),
        };
        if of_voc.as_ref().is_some_and(|of_voc| ids.iter().any(|id| !of_voc.contains(id))) {
            self.search.existing(self.sbd.join("cls"))?;
        }
        let files = |id: String| Files { image: images.file(&id), label: label(&id), second_label: None, id };
        Ok((ids.into_iter().map(files).collect(), listing))
    }

    /// The ids of VOC's train and of both SBD lists, without VOC's val; sorted.
    fn trainaug(&self) -> Result<Vec<String>> {
        let all = self.union(&[self.train(), self.sbd.join("train.txt"), self.sbd.join("val.txt")])?;
        let val: HashSet<String> = self.union(&[self.val()])?.into_iter().collect();
        Ok(all.into_iter().filter(|id| !val.contains(id)).collect())
    }

    fn train(&self) -> PathBuf {
        self.voc.join("ImageSets/Segmentation/train.txt")
    }

    fn val(&self) -> PathBuf {
        self.voc.join("ImageSets/Segmentation/val.txt")
    }

    fn union(&self, lists: &[PathBuf]) -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for list in lists {
            ids.extend(list::ids(&self.search.existing(list.clone())?)?);
        }
        Ok(ids)
    }
}

#[cfg(test)]
pub(super) fn fixture() -> super::tests::Fixture {
    use super::tests::{Fixture, IMAGE, label, text};
    Fixture {
        layout: "{voc: {labels: SegmentationClass}}",
        split: "file: train.txt",
        files: vec![
            ("JPEGImages/a.jpg", IMAGE),
            ("SegmentationClass/a.png", label(&[0, 1, 255])),
            ("train.txt", text("a\n")),
        ],
        id: "a",
        labels: &[0, 1, 255],
    }
}
