//! Metrics of semantic segmentation on plain label maps: one confusion matrix over a whole dataset,
//! and scores derived from it. The crate knows no tensors and no framework.
//!
//! Two means of IoU must not be confused. [`ConfusionMatrix::mean_iou`], over the whole dataset, is
//! what papers report. [`image_averaged_mean_iou`] averages the mean IoU of single images.
//! [`boundary_overlap`] considers only the edges of classes, and [`Objects`] tells small objects from
//! large ones. [`bootstrap_interval`] says how certain a score is. [`greedy_mean_iou`] chooses among
//! several attacks on each image to form the worst case.
//!
//! ```
//! use robustseg_metrics::{ConfusionMatrix, IGNORE_LABEL};
//! let mut matrix = ConfusionMatrix::new(3);
//! matrix.update(&[0, 1, 1, 0], &[0, 1, 0, IGNORE_LABEL])?;
//! assert_eq!(matrix.pixel_accuracy(), Some(2.0 / 3.0));
//! assert_eq!(matrix.iou(), [Some(0.5), Some(0.5), None]);
//! assert_eq!(matrix.mean_iou(), Some(0.5));
//! # Ok::<(), robustseg_metrics::Error>(())
//! ```

mod bootstrap;
mod boundary;
mod components;
mod confusion;
mod objects;
mod overlap;
mod worst_case;

pub use bootstrap::{bootstrap_interval, mean_and_deviation};
pub use boundary::{boundary_distance, boundary_overlap};
pub use confusion::{ConfusionMatrix, Error, IGNORE_LABEL};
pub use objects::{ObjectCounts, Objects, Tercile};
pub use overlap::{Overlap, image_averaged_mean_iou};
pub use worst_case::{greedy_mean_iou, greedy_mean_iou_from, lowest_accuracy};
