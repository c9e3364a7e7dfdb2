//! The layout of PASCAL VOC 2012, and of the labels that SBD adds to it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::{Files, Place, list};
use crate::{Error, Result, VocLabels};

/// The list that SBD's labels belong to; where VOC's folder lacks it, it is computed.
const TRAINAUG: &str = "trainaug.txt";

/// Where VOC and SBD are, and how they say that something is not.
pub(crate) struct Tree<M> {
    /// `VOCdevkit/VOC2012`.
    voc: PathBuf,
    /// `benchmark_RELEASE/dataset`.
    sbd: PathBuf,
    missing: M,
}

impl<M: Fn(PathBuf) -> Error> Tree<M> {
    /// The data in `root`: the folder that the archives were unpacked in, or `VOCdevkit/VOC2012` in that folder.
    /// `missing` makes the error of a file or folder that is not there.
    pub(crate) fn find(root: &Path, missing: M) -> Self {
        let below = root.join("VOCdevkit/VOC2012");
        let (voc, unpacked) = if below.is_dir() {
            (below, root.to_owned())
        } else {
            let unpacked = root.ancestors().nth(2).filter(|folder| !folder.as_os_str().is_empty());
            (root.to_owned(), unpacked.map_or_else(|| root.join("../.."), Path::to_owned))
        };
        Self { voc, sbd: unpacked.join("benchmark_RELEASE/dataset"), missing }
    }

    /// The samples of the list `file` of ids, and the list's place.
    pub(crate) fn samples(&self, file: &Path, labels: VocLabels) -> Result<(Vec<Files>, PathBuf)> {
        let images = Place::new(self.there(self.voc.join("JPEGImages"))?, ".jpg");
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
            (list::ids(&self.there(list.clone())?)?, list)
        };
        // VOC's own labels are in its train and val alone; they know borders, so they come first.
        let of_voc = if official { Some(self.union(&[self.train(), self.val()])?) } else { None };
        let label = |id: &str| match &of_voc {
            None => ready.join(format!("{id}.png")),
            Some(ids) if ids.contains(id) => self.voc.join(format!("SegmentationClass/{id}.png")),
            Some(_) => self.sbd.join(format!("cls/{id}.mat")),
        };
        if of_voc.as_ref().is_some_and(|of_voc| ids.iter().any(|id| !of_voc.contains(id))) {
            self.there(self.sbd.join("cls"))?;
        }
        let files = |id: String| Files { image: images.file(&id), label: label(&id), training_ids: None, id };
        Ok((ids.into_iter().map(files).collect(), listing))
    }

    /// The ids of VOC's train and both of SBD's lists, without those of VOC's val; sorted.
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
            ids.extend(list::ids(&self.there(list.clone())?)?);
        }
        Ok(ids)
    }

    fn there(&self, path: PathBuf) -> Result<PathBuf> {
        if path.exists() { Ok(path) } else { Err((self.missing)(path)) }
    }
}
