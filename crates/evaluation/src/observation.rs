//! Observations: how a model labels images, clean and attacked.

use robustseg_metrics::Overlap;
use serde::{Deserialize, Serialize};

use crate::exact::{bits, counts};

/// An observation of one image, clean or attacked. It is stored and read again without any rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observation {
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub(crate) pairs: Vec<(u8, u8, u64)>,
    #[serde(with = "counts")]
    pub(crate) overlap: Overlap,
    #[serde(with = "counts")]
    pub(crate) boundary: Overlap,
    /// Mean cross-entropy over the labelled pixels.
    #[serde(with = "bits")]
    pub(crate) loss: f32,
    /// The largest change of a value from the clean image.
    #[serde(with = "bits")]
    pub(crate) largest: f32,
    /// Share of the values, those at 0 and 1 left out, that did not change.
    #[serde(with = "bits")]
    pub(crate) unmoved: f32,
}

/// All observations of one image: clean, and at each point of each curve of every candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageObservations {
    pub(crate) id: String,
    pub(crate) clean: Observation,
    pub(crate) attacked: Vec<Vec<Vec<Observation>>>,
}
