//! One split of a dataset.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::augmentation::AugmentationParameters;
use crate::band;
use crate::class::Class;
use crate::crop::{Crop, apply_into};
use crate::error::{Error, Result};
use crate::image::Sample;
use crate::label_code::LabelCode;
use crate::layout::{Found, Layout, Search};
use crate::manifest::Manifest;
use crate::pack::Pack;
use crate::prefetch::Prefetch;
use crate::source::{Files, Source};
use crate::split::Split;
use crate::stamp::{SampleStamp, content_sha256};

/// One split of a dataset. Clones share their state.
#[derive(Clone, Debug)]
pub struct Dataset(Arc<Inner>, Option<Arc<Pack>>);

#[derive(Debug)]
struct Inner {
    name: String,
    split: String,
    classes: Vec<Class>,
    layout: Layout,
    /// How label files are read.
    code: LabelCode,
    /// The file or folder that lists the samples. Empty for generated samples.
    listing: PathBuf,
    source: Source,
    /// Computed on first use.
    stamps: OnceLock<Vec<SampleStamp>>,
}

impl Dataset {
    /// Finds the samples of `split` in the folder `root`, in the order of the dataset's list. A
    /// generated dataset needs no folder and ignores `root`.
    ///
    /// # Errors
    /// If the split does not exist, data are missing (the error says how to get them), the number
    /// of samples or their ids differ from the manifest, or a sample's image or label does not
    /// exist. Files are not read yet.
    pub fn open(manifest: &Manifest, root: &Path, split: &str) -> Result<Self> {
        let (dataset, expected) = Self::find(manifest, root, split)?;
        dataset.verify_list(expected)?;
        dataset.0.source.exist()?;
        Ok(dataset)
    }

    /// Like [`Dataset::open`], but accepts the samples that exist. Also returns the manifest's
    /// split.
    pub(crate) fn find<'a>(manifest: &'a Manifest, root: &Path, split: &str) -> Result<(Self, &'a Split)> {
        let known = || manifest.split_names().collect::<Vec<_>>().join(", ");
        let expected = manifest.splits.get(split).ok_or_else(|| Error::Split {
            name: manifest.name.clone(),
            split: split.to_owned(),
            known: known(),
        })?;
        let search = Search {
            root,
            split: expected.from.as_deref().unwrap_or(split),
            file: expected.file.as_deref(),
            count: expected.count.unwrap_or(0),
            num_classes: manifest.num_classes(),
            missing: &|path| manifest.missing(root, path),
        };
        if !manifest.is_generated() {
            search.existing(root.to_owned())?;
        }
        let Found { mut source, listing } = manifest.layout.kind().find(&search)?;
        if let Source::Files(samples) = &mut source
            && let Some(taken) = expected.part(samples.iter().map(|files| files.id.as_str()))
        {
            let mut taken = taken.into_iter();
            samples.retain(|_| taken.next().unwrap_or(false));
        }
        let inner = Inner {
            name: manifest.name.clone(),
            split: split.to_owned(),
            classes: manifest.classes.clone(),
            layout: manifest.layout.clone(),
            code: manifest.label_code(),
            listing,
            source,
            stamps: OnceLock::new(),
        };
        Ok((Self(Arc::new(inner), None), expected))
    }

    /// The same split, with samples read from the pack that [`prepare`](crate::prepare) made in
    /// `folder` for this `manifest`. The samples are the same, already decoded.
    ///
    /// # Errors
    /// [`Error::Cache`] if there is no pack of this split, or if it belongs to other data or is
    /// older than a sample's files.
    pub fn with_cache(&self, folder: &Path, manifest: &Manifest) -> Result<Self> {
        let pack = Pack::open(folder, manifest, self.split(), self.stamps())?;
        Ok(Self(Arc::clone(&self.0), Some(Arc::new(pack))))
    }

    /// Content stamps of all samples, in the split's order. The first call reads the files on
    /// rayon's threads; clones share the result. Samples in a pack have the stamps of their
    /// original files.
    pub fn stamps(&self) -> &[SampleStamp] {
        if let Some(stamps) = self.0.stamps.get() {
            return stamps;
        }
        // Not computed within the cell: a thread of the pool, waiting for the cell, could block
        // the threads that fill it.
        let stamps = self.0.source.stamps();
        self.0.stamps.get_or_init(|| stamps)
    }

    /// SHA-256 of the ids and contents of all samples in the split's order; see [`content_sha256`].
    pub fn content_sha256(&self) -> String {
        content_sha256(self.stamps())
    }

    /// Refuses samples that differ from the manifest.
    pub(crate) fn verify_list(&self, expected: &Split) -> Result<()> {
        let (name, split, path) = (self.name().to_owned(), self.split().to_owned(), self.0.listing.clone());
        if let Some(expected) = expected.count
            && expected != self.len()
        {
            return Err(Error::Count { name, split, path, expected, found: self.len() });
        }
        if self.is_empty() {
            return Err(Error::Empty { name, split, path });
        }
        match &expected.ids_sha256 {
            Some(sha256) if *sha256 != self.ids_sha256() => {
                Err(Error::Ids { name, split, path, expected: sha256.clone(), found: self.ids_sha256() })
            }
            _ => Ok(()),
        }
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The split's name.
    pub fn split(&self) -> &str {
        &self.0.split
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.0.classes.len()
    }

    /// Whether only 255 means not labelled in label files, because the manifest says nothing else.
    pub(crate) fn ignores_255(&self) -> bool {
        self.0.code.ignores_255()
    }

    /// The classes by index.
    pub(crate) fn classes(&self) -> &[Class] {
        &self.0.classes
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.0.source.len()
    }

    /// Whether the split has no samples. An opened split always has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of the sample at `index`, which must be below [`Dataset::len`].
    pub fn id(&self, index: usize) -> &str {
        self.0.source.id(index)
    }

    /// Reads the sample at `index`, which must be below [`Dataset::len`]. Its label map holds class
    /// indices and [`IGNORE_LABEL`](crate::IGNORE_LABEL) only.
    ///
    /// # Errors
    /// If image or label cannot be read, their sizes differ, or the label has a value that is not a
    /// class.
    pub fn load(&self, index: usize) -> Result<Sample> {
        match &self.1 {
            Some(pack) => pack.sample(index),
            None => self.0.source.load(index, |path| self.0.code.read(path)),
        }
    }

    /// Only the label map of the sample at `index`.
    pub(crate) fn load_label(&self, index: usize) -> Result<Vec<u8>> {
        match &self.1 {
            Some(pack) => pack.label(index),
            None => self.0.source.label(index, |path| self.0.code.read(path)).map(|label| label.data),
        }
    }

    /// The sample at `index`, which must be below [`Dataset::len`], changed by `parameters`. The
    /// result is that of [`apply`](crate::apply) on [`Dataset::load`], but PNG rows below the crop
    /// are not decoded. Files are still verified to their ends, except for faults that only
    /// decoding would show.
    ///
    /// # Errors
    /// The errors of [`Dataset::load`].
    pub fn load_crop(
        &self,
        index: usize,
        parameters: &AugmentationParameters,
        fill: [f32; 3],
    ) -> Result<Crop> {
        self.load_crop_into(index, parameters, fill, Crop::default())
    }

    /// Like [`Dataset::load_crop`], in the memory of `spare`.
    pub(crate) fn load_crop_into(
        &self,
        index: usize,
        parameters: &AugmentationParameters,
        fill: [f32; 3],
        mut spare: Crop,
    ) -> Result<Crop> {
        if let Some(pack) = &self.1 {
            return band::packed(pack, index, parameters, fill, spare);
        }
        if let Some(Files { image, label, .. }) = self.0.source.files(index)
            && let Some(crop) = band::crop(image, label, &self.0.code, parameters, fill, &mut spare)
        {
            return Ok(crop);
        }
        Ok(apply_into(&self.load(index)?, parameters, fill, spare))
    }

    /// Reads the samples at `indices` in this order, some of them in advance.
    pub fn samples(&self, indices: impl IntoIterator<Item = usize>) -> Samples {
        let indices: Vec<usize> = indices.into_iter().collect();
        Samples { dataset: self.clone(), indices: indices.into_iter(), prefetch: Prefetch::default() }
    }

    /// The files of the sample at `index`: image, label and, in some layouts, a second file of the
    /// same label, which may not exist. A generated sample has no files.
    pub(crate) fn files(&self, index: usize) -> impl Iterator<Item = &Path> {
        let files = self.0.source.files(index);
        let paths = files.map(|f| [Some(&f.image), Some(&f.label), f.second_label.as_ref()]);
        paths.into_iter().flatten().flatten().map(PathBuf::as_path)
    }

    /// Compares the loaded sample at `index` with other files of the same label.
    pub(crate) fn cross_check(&self, index: usize, sample: &Sample) -> Result<()> {
        let files = self.0.source.files(index);
        files.map_or(Ok(()), |files| self.0.layout.kind().cross_check(files, &sample.label))
    }
}

/// Samples in the requested order, read in advance on rayon's threads. An error takes the place of
/// its sample.
pub struct Samples {
    dataset: Dataset,
    indices: std::vec::IntoIter<usize>,
    prefetch: Prefetch<Sample>,
}

impl Iterator for Samples {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        let ahead = 2 * rayon::current_num_threads();
        while self.prefetch.len() < ahead
            && let Some(index) = self.indices.next()
        {
            let dataset = self.dataset.clone();
            self.prefetch.push(dataset.id(index).to_owned(), move || dataset.load(index));
        }
        self.prefetch.next()
    }
}
