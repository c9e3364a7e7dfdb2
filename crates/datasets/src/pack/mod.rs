//! Decoded samples in one file per split. A crop reads only the rows that it needs.
//!
//! A pack contains the samples in sequence, each as the image's rows in RGB followed by the label
//! map's rows, and an [`Index`] at the end. It is valid for one manifest, one list of samples, one
//! set of decoders and files with certain stamps. Opening a pack compares all of these. Each sample
//! has a CRC-32, which is verified when the whole sample is read. The rows of a crop are only
//! checked for labels that are not classes.

pub(crate) mod index;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use robustseg_files::Sha256;

use index::{Entry, Index, MAGIC};

use crate::decode::DECODERS;
use crate::error::{Error, Result};
use crate::image::{IGNORE_LABEL, Image, LabelMap, Sample};
use crate::manifest::Manifest;
use crate::stamp::SampleStamp;

/// The suffix of packs that are being written.
pub(crate) const PART: &str = ".pack.part";

/// A split's pack, open for reading.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
    num_classes: usize,
}

impl Pack {
    /// Opens the pack in `folder` for `split` of the dataset of `manifest`. Verifies
    /// that it contains the samples with these `stamps`, without reading pixels.
    pub(crate) fn open(
        folder: &Path,
        manifest: &Manifest,
        split: &str,
        stamps: &[SampleStamp],
    ) -> Result<Self> {
        let path = path(folder, split);
        let refuse = |reason: String| Error::Cache { path: path.clone(), reason };
        let file = File::open(&path).map_err(|error| refuse(format!("cannot be opened ({error})")))?;
        let index = Index::read(&file).map_err(&refuse)?;
        if index.origin != origin(manifest, split) {
            return Err(refuse("is of another manifest, or of another version's decoders".into()));
        }
        if index.entries.len() != stamps.len() {
            return Err(refuse(format!(
                "holds {} samples where the split has {}",
                index.entries.len(),
                stamps.len()
            )));
        }
        for (entry, SampleStamp { id, image, label }) in index.entries.iter().zip(stamps) {
            if entry.id != *id {
                return Err(refuse(format!("holds sample {} in the place of {id}", entry.id)));
            }
            if (entry.image, entry.label) != (*image, *label) {
                return Err(refuse(format!("is older than the files of sample {id}")));
            }
        }
        Ok(Self { path, file, entries: index.entries, num_classes: manifest.num_classes() })
    }

    /// The whole sample at `index`, with its checksum verified.
    pub(crate) fn sample(&self, index: usize) -> Result<Sample> {
        let Entry { id, width, height, crc, .. } = &self.entries[index];
        let (mut image, mut label) = (Vec::new(), Vec::new());
        self.rows(index, 0..*height, &mut image, &mut label)?;
        if checksum(&image, &label) != *crc {
            return Err(self.fault(format!("sample {id} is damaged, its checksum is not that of its pixels")));
        }
        let (width, height) = (*width, *height);
        Ok(Sample {
            id: id.clone(),
            image: Image { width, height, data: image },
            label: LabelMap { width, height, data: label },
        })
    }

    /// The labels of the sample at `index`.
    pub(crate) fn label(&self, index: usize) -> Result<Vec<u8>> {
        let height = self.entries[index].height;
        let mut label = Vec::new();
        self.label_rows(index, 0..height, &mut label)?;
        Ok(label)
    }

    /// Width and height of the sample at `index`.
    pub(crate) fn size(&self, index: usize) -> (usize, usize) {
        (self.entries[index].width, self.entries[index].height)
    }

    /// Reads `rows` of the sample at `index`: RGB into `image` and labels into `label`. Both are
    /// resized to fit.
    pub(crate) fn rows(
        &self,
        index: usize,
        rows: std::ops::Range<usize>,
        image: &mut Vec<u8>,
        label: &mut Vec<u8>,
    ) -> Result<()> {
        let Entry { offset, width, .. } = &self.entries[index];
        image.resize(rows.len() * width * 3, 0);
        self.read(image, offset + (rows.start * width * 3) as u64)?;
        self.label_rows(index, rows, label)
    }

    /// Reads the labels of `rows` of the sample at `index` into `label`, which is resized to fit.
    fn label_rows(&self, index: usize, rows: std::ops::Range<usize>, label: &mut Vec<u8>) -> Result<()> {
        let Entry { id, offset, width, height, .. } = &self.entries[index];
        label.resize(rows.len() * width, 0);
        let labels = offset + (height * width * 3) as u64;
        self.read(label, labels + (rows.start * width) as u64)?;
        // Training relies on valid labels.
        let known = |label: &u8| usize::from(*label) < self.num_classes || *label == IGNORE_LABEL;
        if label.iter().all(known) {
            return Ok(());
        }
        Err(self.fault(format!("sample {id} is damaged, it has labels that are no classes")))
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|error| self.fault(format!("cannot be read ({error})")))
    }

    fn fault(&self, reason: String) -> Error {
        Error::Cache { path: self.path.clone(), reason }
    }
}

/// Whether the file at `path` is a pack, complete or not, or one that is being written.
pub fn is_pack(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let begins_as_one = || {
        let mut beginning = [0; MAGIC.len()];
        File::open(path)
            .is_ok_and(|file| file.read_exact_at(&mut beginning, 0).is_ok() && beginning == *MAGIC)
    };
    let has_its_name = path.extension().is_some_and(|extension| extension == "pack");
    path.is_file() && (name.ends_with(PART) || has_its_name && begins_as_one())
}

/// The pack of `split` in `folder`.
pub(crate) fn path(folder: &Path, split: &str) -> PathBuf {
    folder.join(format!("{split}.pack"))
}

/// Everything besides its files that determines a split's pixels.
pub(crate) fn origin(manifest: &Manifest, split: &str) -> [u8; 32] {
    // A manifest is plain data, so writing it cannot fail. If it did, packs would only be made
    // again.
    let manifest = serde_yaml::to_string(manifest).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(format!("{DECODERS}\n{split}\n{manifest}"));
    hash.bytes()
}

pub(crate) fn checksum(image: &[u8], label: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(image);
    crc.update(label);
    crc.finalize()
}
