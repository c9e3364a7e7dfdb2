//! Semantic segmentation data as plain arrays: manifests, readers of the original layouts of PASCAL
//! VOC 2012 with SBD, Cityscapes and `CamVid` and of any folders of images and PNG labels, a
//! generated dataset, augmentation and a prefetching loader. The crate knows no tensors and no
//! framework.
//!
//! A [`Manifest`] describes a dataset. [`Dataset::open`] finds one split and verifies the counts.
//! [`Dataset::load`] returns a [`Sample`], whose label map contains only class indices and
//! [`IGNORE_LABEL`]. A [`Loader`] produces augmented training batches that depend only on seed and
//! step.
//!
//! With the feature `fetch`, `Fetch` downloads freely available datasets.
//!
//! The format of a file follows from its content. Broken, truncated or ambiguous files lead to
//! errors that name the file, never to a partial picture. All errors are [`Error`].
//!
//! ```
//! use robustseg_datasets::{Dataset, Manifest};
//! let manifest = Manifest::parse(
//!     "name: scenes
//! folder: scenes
//! layout:
//!   synthetic: {height: 48, width: 64, seed: 1}
//! classes:
//!   - {name: background, colour: [0, 0, 0]}
//!   - {name: brick, colour: [200, 80, 60]}
//! splits:
//!   train: {count: 10}
//! citation: none
//! licence: generated
//! obtain: nothing to obtain
//! ",
//!     "scenes.yaml".as_ref(),
//! )?;
//! let train = Dataset::open(&manifest, "".as_ref(), "train")?;
//! let sample = train.load(3)?;
//! assert_eq!((sample.image.width, sample.image.height), (64, 48));
//! assert_eq!(sample.label.data.len(), 48 * 64);
//! # Ok::<(), robustseg_datasets::Error>(())
//! ```

mod affine;
mod archive;
mod augmentation;
mod band;
mod blur;
mod check;
mod class;
mod class_pixels;
mod crop;
mod crop_size;
mod data_folder;
mod dataset;
mod decode;
mod error;
mod fault_kind;
#[cfg(feature = "fetch")]
mod fetch;
mod fingerprint;
mod image;
mod init;
mod jitter;
mod label_code;
mod label_rules;
mod label_table;
mod labelling;
mod layout;
mod loader;
mod manifest;
mod mat;
mod pack;
mod pair;
mod prefetch;
mod prepare;
mod shared;
mod source;
mod split;
mod stamp;
mod survey;
mod yaml;

pub use archive::Archive;
pub use augmentation::{AugmentationConfig, AugmentationParameters};
pub use check::{CheckReport, Overlap, SplitReport, check, overlaps};
pub use class::Class;
pub use crop::{Crop, apply};
pub use crop_size::CropSize;
pub use data_folder::DATA_FOLDER;
pub use dataset::{Dataset, Samples};
pub use decode::{DECODERS, MAX_PIXELS, image_size, read_image, read_label};
pub use error::{Error, Result};
pub use fault_kind::FaultKind;
#[cfg(feature = "fetch")]
pub use fetch::{Fetch, FetchProgress, FetchStage, Fetched};
pub use fingerprint::fingerprint;
pub use image::{IGNORE_LABEL, Image, LabelMap, Sample};
pub use init::{Proposal, propose};
pub use jitter::{Jitter, JitterConfig};
pub use label_rules::LabelsBy;
pub use labelling::{Labelling, read_pair};
pub use layout::*;
pub use loader::{Batch, Loader, LoaderOptions, OnBadSample, Skipped};
pub use manifest::Manifest;
pub use mat::read_sbd_label;
pub use pack::is_pack;
pub use prepare::{Prepared, prepare};
pub use shared::Shared;
pub use split::Split;
pub use stamp::{SampleStamp, content_sha256};
