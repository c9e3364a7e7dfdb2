//! The source of a split's samples.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::{LabelMap, Sample};
use crate::pair;
use crate::stamp::{self, SampleStamp};

/// The files of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
    /// A second file of the same label, which may be absent. A check of the dataset compares the
    /// two.
    pub(crate) second_label: Option<PathBuf>,
}

impl Files {
    /// Refuses samples whose image or label does not exist.
    pub(crate) fn exist(&self) -> Result<()> {
        for (what, path) in [("image", &self.image), ("label", &self.label)] {
            if !path.is_file() {
                return Err(Error::NoFile { id: self.id.clone(), what, path: path.clone() });
            }
        }
        Ok(())
    }
}

/// Generates the samples of a split. Each sample is a function of its index.
pub(crate) trait Generator: Debug + Send + Sync {
    /// Everything that determines the sample at `index`. It is part of the sample's stamp.
    fn origin(&self, index: usize) -> String;

    /// The sample at `index`, with the name `id`.
    fn sample(&self, id: &str, index: usize) -> Sample;
}

/// The samples of a split, in its order.
#[derive(Debug)]
pub(crate) enum Source {
    /// Samples on disk.
    Files(Vec<Files>),
    /// Generated samples, and their ids.
    Generated { ids: Vec<String>, generator: Box<dyn Generator> },
}

impl Source {
    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Files(samples) => samples.len(),
            Self::Generated { ids, .. } => ids.len(),
        }
    }

    /// The id of the sample at `index`.
    pub(crate) fn id(&self, index: usize) -> &str {
        match self {
            Self::Files(samples) => &samples[index].id,
            Self::Generated { ids, .. } => &ids[index],
        }
    }

    /// The files of the sample at `index`. `None` if it is generated.
    pub(crate) fn files(&self, index: usize) -> Option<&Files> {
        match self {
            Self::Files(samples) => Some(&samples[index]),
            Self::Generated { .. } => None,
        }
    }

    /// Refuses samples whose image or label does not exist.
    pub(crate) fn exist(&self) -> Result<()> {
        match self {
            Self::Files(samples) => samples.iter().try_for_each(Files::exist),
            Self::Generated { .. } => Ok(()),
        }
    }

    /// The sample at `index`. `read` reads its label file.
    pub(crate) fn load(&self, index: usize, read: impl Fn(&Path) -> Result<LabelMap>) -> Result<Sample> {
        match self {
            Self::Files(samples) => {
                let files = &samples[index];
                files.exist()?;
                let (image, label) = pair::read(&files.image, &files.label, read)?;
                Ok(Sample { id: files.id.clone(), image, label })
            }
            Self::Generated { ids, generator } => Ok(generator.sample(&ids[index], index)),
        }
    }

    /// Only the label map of the sample at `index`. `read` reads its file.
    pub(crate) fn label(&self, index: usize, read: impl Fn(&Path) -> Result<LabelMap>) -> Result<LabelMap> {
        match self {
            Self::Files(samples) => read(&samples[index].label),
            Self::Generated { ids, generator } => Ok(generator.sample(&ids[index], index).label),
        }
    }

    /// Content stamps of all samples. Files are read on rayon's threads.
    pub(crate) fn stamps(&self) -> Vec<SampleStamp> {
        match self {
            Self::Files(samples) => stamp::all(samples.len(), |index| {
                let Files { id, image, label, .. } = &samples[index];
                SampleStamp::of_files(id, image, label)
            }),
            Self::Generated { ids, generator } => stamp::all(ids.len(), |index| {
                SampleStamp::of_generated(&ids[index], &generator.origin(index))
            }),
        }
    }
}
