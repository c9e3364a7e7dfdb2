//! Published checkpoints of segmentation networks: which kinds there are, how their tensors are
//! named, and what has to be known about them besides their weights.
//!
//! A [`Weights`] is a file of PyTorch or a safetensors file. [`Import::plan`] compares its tensors
//! with a [`Kind`], reads the size of the network off their shapes, and lists everything that does
//! not fit. [`Import::write`] writes a checkpoint, one tensor at a time.

mod error;
mod fit;
mod import;
mod kind;
mod kinds;
mod names;
mod nearest;
mod prefix;
mod safetensors_file;
mod spelling;
mod weights;

pub use error::{Error, Result};
pub use fit::Misfit;
pub use import::Import;
pub use kind::{Kind, Product};
pub use kinds::KINDS;
pub use weights::Weights;
