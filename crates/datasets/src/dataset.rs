//! One split of a dataset.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::crop::apply_into;
use crate::label_code::LabelCode;
use crate::layout::synthetic::Scenes;
use crate::layout::{Files, cityscapes, folders, pairs, voc};
use crate::pack::Pack;
use crate::prefetch::Prefetch;
use crate::stamp::{self, SampleStamp};
use crate::{
    AugmentationParameters, Class, Crop, Error, Layout, Manifest, Result, Sample, Split, band,
    content_sha256, pair,
};

/// One split of a dataset. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Dataset(Arc<Inner>, Option<Arc<Pack>>);

#[derive(Debug)]
struct Inner {
    name: String,
    split: String,
    classes: Vec<Class>,
    /// The file or folder that says which samples there are; empty for generated ones.
    listing: PathBuf,
    source: Source,
    /// Made when they are asked for.
    stamps: OnceLock<Vec<SampleStamp>>,
}

#[derive(Debug)]
enum Source {
    Files { samples: Vec<Files>, code: Box<LabelCode> },
    Scenes { ids: Vec<String>, scenes: Scenes },
}

impl Dataset {
    /// Finds the samples of `split` in the folder `root`, in the order of the dataset's list. A generated dataset
    /// needs no folder and does not look at `root`.
    ///
    /// # Errors
    /// If there is no such split, data are missing (the error says how to get them), the number of samples or their
    /// ids are not the manifest's, or a sample's image or label does not exist. Files are not read yet.
    pub fn open(manifest: &Manifest, root: &Path, split: &str) -> Result<Self> {
        let (dataset, expected) = Self::find(manifest, root, split)?;
        dataset.verify_list(expected)?;
        if let Source::Files { samples, .. } = &dataset.0.source {
            samples.iter().try_for_each(Files::exist)?;
        }
        Ok(dataset)
    }

    /// As [`Dataset::open`], but takes what is there; gives what the manifest expects, too.
    pub(crate) fn find<'a>(manifest: &'a Manifest, root: &Path, split: &str) -> Result<(Self, &'a Split)> {
        let known = || manifest.split_names().collect::<Vec<_>>().join(", ");
        let expected = manifest.splits.get(split).ok_or_else(|| Error::Split {
            name: manifest.name.clone(),
            split: split.to_owned(),
            known: known(),
        })?;
        let there = |path: PathBuf| if path.exists() { Ok(path) } else { Err(manifest.missing(root, path)) };
        if !manifest.is_generated() {
            there(root.to_owned())?;
        }
        let files =
            |(samples, listing)| (Source::Files { samples, code: Box::new(manifest.label_code()) }, listing);
        let list = expected.file.as_deref().unwrap_or(Path::new(""));
        let (source, listing) = match &manifest.layout {
            Layout::Voc { labels } => {
                files(voc::Tree::find(root, |path| manifest.missing(root, path)).samples(list, *labels)?)
            }
            Layout::Cityscapes => {
                let folder = there(cityscapes::images(root, split))?;
                files((cityscapes::samples(root, split)?, folder))
            }
            Layout::Pairs => {
                let list = there(root.join(list))?;
                files((pairs::samples(root, &list)?, list))
            }
            Layout::Folders(layout) => {
                let file = expected.file.as_deref();
                let folder = folders::folder(root, &layout.images, split);
                let listing = there(file.map_or(folder, |file| root.join(file)))?;
                files((folders::samples(root, layout, split, file)?, listing))
            }
            Layout::Synthetic(config) => {
                let ids = (0..expected.count).map(|index| format!("{split}_{index:05}")).collect();
                let scenes = Scenes::new(*config, split, manifest.num_classes());
                (Source::Scenes { ids, scenes }, PathBuf::new())
            }
        };
        let (name, split) = (manifest.name.clone(), split.to_owned());
        let inner = Inner {
            name,
            split,
            classes: manifest.classes.clone(),
            listing,
            source,
            stamps: OnceLock::new(),
        };
        Ok((Self(Arc::new(inner), None), expected))
    }

    /// The same split, whose samples are read from the pack that [`prepare`](crate::prepare) made in `folder` for this
    /// `manifest`: the same samples, decoded already.
    ///
    /// # Errors
    /// [`Error::Cache`] if there is no pack of this split, or it is of other data, or older than a sample's files.
    pub fn with_cache(&self, folder: &Path, manifest: &Manifest) -> Result<Self> {
        let pack = Pack::open(folder, manifest, self)?;
        Ok(Self(Arc::clone(&self.0), Some(Arc::new(pack))))
    }

    /// Content stamps of all samples, in the split's order. The files are read when this is first asked, on rayon's
    /// threads; clones share the answer. Samples of a pack have the stamps of the files behind it.
    pub fn stamps(&self) -> &[SampleStamp] {
        if let Some(stamps) = self.0.stamps.get() {
            return stamps;
        }
        // Not within the cell: a thread of the pool that waits for it could hold up those that it waits for.
        let stamps = match &self.0.source {
            Source::Files { samples, .. } => stamp::all(samples.len(), |index| {
                let Files { id, image, label, .. } = &samples[index];
                SampleStamp::of_files(id, image, label)
            }),
            Source::Scenes { ids, scenes } => {
                stamp::all(ids.len(), |index| SampleStamp::of_generated(&ids[index], &scenes.origin(index)))
            }
        };
        self.0.stamps.get_or_init(|| stamps)
    }

    /// SHA-256 of the ids and content of all samples in the split's order: see [`content_sha256`].
    pub fn content_sha256(&self) -> String {
        content_sha256(self.stamps())
    }

    /// Refuses samples that are not those that the manifest promises.
    pub(crate) fn verify_list(&self, expected: &Split) -> Result<()> {
        let (name, split, path) = (self.name().to_owned(), self.split().to_owned(), self.0.listing.clone());
        if self.len() != expected.count {
            return Err(Error::Count { name, split, path, expected: expected.count, found: self.len() });
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

    /// Classes of the dataset.
    pub fn num_classes(&self) -> usize {
        self.0.classes.len()
    }

    /// Whether 255 alone means not labelled in label files, because the manifest says nothing else.
    pub(crate) fn ignores_255(&self) -> bool {
        matches!(&self.0.source, Source::Files { code, .. } if code.ignores_255())
    }

    /// Its classes, by index.
    pub(crate) fn classes(&self) -> &[Class] {
        &self.0.classes
    }

    /// Samples of the split.
    pub fn len(&self) -> usize {
        match &self.0.source {
            Source::Files { samples, .. } => samples.len(),
            Source::Scenes { ids, .. } => ids.len(),
        }
    }

    /// Whether the split has no samples; no split that was opened is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of the sample at `index`, which must be below [`Dataset::len`].
    pub fn id(&self, index: usize) -> &str {
        match &self.0.source {
            Source::Files { samples, .. } => &samples[index].id,
            Source::Scenes { ids, .. } => &ids[index],
        }
    }

    /// Reads the sample at `index`, which must be below [`Dataset::len`]. Its label map holds class indices and
    /// [`IGNORE_LABEL`](crate::IGNORE_LABEL) only.
    ///
    /// # Errors
    /// If image or label cannot be read, their sizes differ, or the label has a value that is no class.
    pub fn load(&self, index: usize) -> Result<Sample> {
        if let Some(pack) = &self.1 {
            return pack.sample(index);
        }
        match &self.0.source {
            Source::Files { samples, code } => {
                let files = &samples[index];
                files.exist()?;
                let (image, label) = pair::read(&files.image, &files.label, |path| code.read(path))?;
                Ok(Sample { id: files.id.clone(), image, label })
            }
            Source::Scenes { ids, scenes } => Ok(scenes.sample(&ids[index], index)),
        }
    }

    /// The label map of the sample at `index` alone.
    pub(crate) fn load_label(&self, index: usize) -> Result<Vec<u8>> {
        match (&self.1, &self.0.source) {
            (Some(pack), _) => pack.label(index),
            (None, Source::Files { samples, code }) => Ok(code.read(&samples[index].label)?.data),
            (None, Source::Scenes { ids, scenes }) => Ok(scenes.sample(&ids[index], index).label.data),
        }
    }

    /// The sample at `index`, which must be below [`Dataset::len`], changed as `parameters` say: what
    /// [`apply`](crate::apply) makes of [`Dataset::load`], but rows of PNGs below those that the crop needs are not
    /// decoded. Files are verified to their ends all the same, but for what decoding alone would show.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn load_crop(
        &self,
        index: usize,
        parameters: &AugmentationParameters,
        fill: [f32; 3],
    ) -> Result<Crop> {
        self.load_crop_into(index, parameters, fill, Crop::default())
    }

    /// As [`Dataset::load_crop`], in the memory of `spare`.
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
        if let Source::Files { samples, code } = &self.0.source {
            let Files { image, label, .. } = &samples[index];
            if let Some(crop) = band::crop(image, label, code, parameters, fill, &mut spare) {
                return Ok(crop);
            }
        }
        Ok(apply_into(&self.load(index)?, parameters, fill, spare))
    }

    /// Reads the samples at `indices`, in this order, some in advance.
    pub fn samples(&self, indices: impl IntoIterator<Item = usize>) -> Samples {
        let indices: Vec<usize> = indices.into_iter().collect();
        Samples { dataset: self.clone(), indices: indices.into_iter(), prefetch: Prefetch::default() }
    }

    /// The files of the sample at `index`: image, label, and for some what its label is held to, which may not be there;
    /// none if it is generated.
    pub(crate) fn files(&self, index: usize) -> impl Iterator<Item = &Path> {
        let files = match &self.0.source {
            Source::Files { samples, .. } => Some(&samples[index]),
            Source::Scenes { .. } => None,
        };
        let paths = files.map(|f| [Some(&f.image), Some(&f.label), f.training_ids.as_ref()]);
        paths.into_iter().flatten().flatten().map(PathBuf::as_path)
    }

    /// Holds the sample at `index`, as it was loaded, to what else there is about it.
    pub(crate) fn cross_check(&self, index: usize, sample: &Sample) -> Result<()> {
        match &self.0.source {
            Source::Files { samples, .. } => cityscapes::cross_check(&samples[index], &sample.label),
            Source::Scenes { .. } => Ok(()),
        }
    }
}

/// Samples in the order asked for, read in advance on rayon's threads. An error takes its sample's place.
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
