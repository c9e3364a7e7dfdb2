//! Metrics of semantic segmentation, on plain label maps: one confusion matrix over a whole dataset, and what
//! follows from it. No tensors, no framework.
//!
//! Two means of IoU must not be confused: [`ConfusionMatrix::mean_iou`], of the whole dataset, is what papers report;
//! [`image_averaged_mean_iou`] is the mean of single images' own. [`boundary_overlap`] looks at the classes' edges alone.
//! [`bootstrap_interval`] says how sure a number is, [`greedy_mean_iou`] which of several attacks on each image makes the
//! worst case.
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
mod confusion;
mod overlap;
mod worst_case;

pub use bootstrap::{bootstrap_interval, mean_and_deviation};
pub use boundary::{boundary_distance, boundary_overlap};
pub use confusion::{ConfusionMatrix, Error, IGNORE_LABEL};
pub use overlap::{Overlap, image_averaged_mean_iou};
pub use worst_case::{greedy_mean_iou, greedy_mean_iou_from, lowest_accuracy};
