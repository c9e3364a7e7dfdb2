//! Training batches, prepared in advance.

use std::collections::VecDeque;
use std::ops::Range;

use rand::seq::SliceRandom;

use serde::{Deserialize, Serialize};

use crate::prefetch::Prefetch;
use crate::{AugmentationConfig, Crop, Dataset, Error, Result};

/// A batch of N samples of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The samples' ids: N.
    pub ids: Vec<String>,
    /// Images (N, 3, H, W) with values in `[0, 1]`.
    pub images: Vec<f32>,
    /// Class indices and [`IGNORE_LABEL`](crate::IGNORE_LABEL) (N, H, W).
    pub labels: Vec<u8>,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
}

/// How to treat a training sample whose files are missing or broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnBadSample {
    /// The sample ends the training.
    #[default]
    Fail,
    /// The next intact sample in the dataset's list replaces it in the batch, and the replacement
    /// is reported. If more than one sample in a hundred is bad, and more than one in all, training
    /// still ends.
    Skip,
}

/// A bad sample that another one replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The bad sample.
    pub id: String,
    /// The fault and the file.
    pub reason: String,
}

/// The settings of a [`Loader`].
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples per batch.
    pub batch_size: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Random changes to the samples. The `crop` is also the size of the batches.
    pub augmentation: AugmentationConfig,
    /// The colour, in `[0, 1]`, of areas of a crop outside the image: the mean colour that the
    /// model subtracts.
    pub fill: [f32; 3],
    /// The steps to produce batches for, counted from the first step of the first epoch.
    pub steps: Range<u64>,
    /// How to treat missing or broken samples.
    pub on_bad_sample: OnBadSample,
}

/// Produces one augmented batch per step, and prepares some in advance on rayon's threads.
///
/// Each epoch is a permutation of the dataset, a function of seed and epoch. Each sample's
/// augmentation depends on seed, epoch and sample. A loader that starts at any step therefore
/// produces the same batches as one that reaches that step, with any number of threads. Samples
/// that do not fill a batch at the end of an epoch are left out.
///
/// An error takes the place of its batch and names the sample's file. Skipped samples do not affect
/// the others. The replacement of a sample depends only on the dataset's list, and its augmentation
/// on its position.
///
/// Memory holds at most the crops of three batches, as many spare ones, and one sample per thread,
/// however slow the trainer is.
pub struct Loader {
    dataset: Dataset,
    options: LoaderOptions,
    /// The next step to prepare.
    next: u64,
    /// The present epoch and its order.
    order: Option<(u64, Vec<usize>)>,
    /// Ids of the batches in preparation.
    ids: VecDeque<Vec<String>>,
    prefetch: Prefetch<Loaded>,
    /// Bad samples found so far, and how many of them were reported.
    skipped: Vec<Skipped>,
    told: usize,
    /// Crops that were copied to a batch. Their memory is reused.
    spare: Vec<Crop>,
}

/// Batches in preparation besides the requested one.
const BATCHES_AHEAD: usize = 2;

impl Loader {
    /// A loader of `dataset` with `options`.
    ///
    /// # Errors
    /// If the augmentation's settings are out of range, or the dataset is smaller than a batch.
    pub fn new(dataset: &Dataset, options: LoaderOptions) -> Result<Self> {
        options.augmentation.validate()?;
        if options.batch_size == 0 {
            return Err(Error::Setting { setting: "batch_size", reason: "must be at least 1".into() });
        }
        if dataset.len() < options.batch_size {
            return Err(Error::Batch {
                name: dataset.name().to_owned(),
                split: dataset.split().to_owned(),
                samples: dataset.len(),
                batch_size: options.batch_size,
            });
        }
        Ok(Self {
            dataset: dataset.clone(),
            next: options.steps.start,
            options,
            order: None,
            ids: VecDeque::new(),
            prefetch: Prefetch::default(),
            skipped: Vec::new(),
            told: 0,
            spare: Vec::new(),
        })
    }

    /// Whole batches per epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.dataset.len() / self.options.batch_size) as u64
    }

    /// The bad samples skipped since the last call, each once.
    pub fn take_skipped(&mut self) -> Vec<Skipped> {
        let new = self.skipped[self.told..].to_vec();
        self.told = self.skipped.len();
        new
    }

    /// Maximum number of different samples to skip.
    fn most_skipped(&self) -> usize {
        (self.dataset.len() / 100).max(1)
    }

    /// Records bad samples.
    fn note(&mut self, skipped: Vec<Skipped>) -> Result<()> {
        for sample in skipped {
            if !self.skipped.iter().any(|known| known.id == sample.id) {
                self.skipped.push(sample);
            }
        }
        let most = self.most_skipped();
        if self.skipped.len() > most { Err(too_many(&self.dataset, most, &self.skipped)) } else { Ok(()) }
    }

    /// Starts the jobs of the next step.
    fn prepare(&mut self) {
        let batch_size = self.options.batch_size;
        let (epoch, step) = (self.next / self.steps_per_epoch(), self.next % self.steps_per_epoch());
        self.next += 1;
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<usize> = (0..self.dataset.len()).collect();
            order.shuffle(&mut robustseg_random::stream(self.options.seed, "order", [epoch, 0, 0]));
            self.order = Some((epoch, order));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let indices = &order[step as usize * batch_size..][..batch_size];
        for &index in indices {
            let (dataset, fill) = (self.dataset.clone(), self.options.fill);
            let mut spare = self.spare.pop().unwrap_or_default();
            let augmentation = self.options.augmentation.clone();
            let draw = [self.options.seed, epoch, index as u64];
            let most = match self.options.on_bad_sample {
                OnBadSample::Fail => 0,
                OnBadSample::Skip => self.most_skipped(),
            };
            self.prefetch.push(self.dataset.id(index).to_owned(), move || {
                Loaded::first(&dataset, index, most, |index| {
                    let load = |parameters: &_| {
                        dataset.load_crop_into(index, parameters, fill, std::mem::take(&mut spare))
                    };
                    augmentation.crop_with(draw, load).map(|(_, crop)| crop)
                })
            });
        }
        self.ids.push_back(indices.iter().map(|&index| self.dataset.id(index).to_owned()).collect());
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ids.len() <= BATCHES_AHEAD && self.next < self.options.steps.end {
            self.prepare();
        }
        let ids = self.ids.pop_front()?;
        let size = self.options.augmentation.crop;
        let mut images = Vec::with_capacity(ids.len() * 3 * size.pixels());
        let mut labels = Vec::with_capacity(ids.len() * size.pixels());
        // All results of the batch are taken, so that the batch after an error is the next one.
        let loaded: Vec<Result<Loaded>> = ids.iter().map_while(|_| self.prefetch.next()).collect();
        let mut ids = Vec::with_capacity(loaded.len());
        for loaded in loaded {
            let noted = loaded.and_then(|Loaded { id, crop, skipped }| {
                self.note(skipped)?;
                Ok((id, crop))
            });
            match noted {
                Ok((id, crop)) => {
                    ids.push(id);
                    images.extend_from_slice(&crop.image);
                    labels.extend_from_slice(&crop.label);
                    self.spare.push(crop);
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(Batch { ids, images, labels, height: size.height, width: size.width }))
    }
}

/// A sample's crop, and the bad samples it replaces.
struct Loaded {
    id: String,
    crop: Crop,
    skipped: Vec<Skipped>,
}

impl Loaded {
    /// The first sample that `load` can load, starting at `index` in the dataset's order and
    /// wrapping around at its end. An error if more than `most` samples cannot be loaded.
    fn first(
        dataset: &Dataset,
        index: usize,
        most: usize,
        mut load: impl FnMut(usize) -> Result<Crop>,
    ) -> Result<Self> {
        let mut skipped = Vec::new();
        loop {
            let index = (index + skipped.len()) % dataset.len();
            let id = dataset.id(index).to_owned();
            match load(index) {
                Ok(crop) => return Ok(Self { id, crop, skipped }),
                Err(error) if most > 0 && error.is_of_a_sample() => {
                    skipped.push(Skipped { id, reason: error.to_string() });
                    if skipped.len() > most {
                        return Err(too_many(dataset, most, &skipped));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The error for too many bad samples.
fn too_many(dataset: &Dataset, most: usize, skipped: &[Skipped]) -> Error {
    Error::TooManyBad {
        name: dataset.name().to_owned(),
        split: dataset.split().to_owned(),
        samples: dataset.len(),
        most,
        faults: skipped.iter().map(|sample| sample.reason.clone()).collect(),
    }
}
