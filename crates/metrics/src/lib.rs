//! Metrics of semantic segmentation, on plain label maps: one confusion matrix over a whole dataset, and what
//! follows from it. No tensors, no framework.
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

mod confusion;

pub use confusion::{ConfusionMatrix, Error, IGNORE_LABEL};
