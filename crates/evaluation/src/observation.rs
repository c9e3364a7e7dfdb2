//! Observations: how a model labels images, clean and attacked.

use robustseg_metrics::{Objects, Overlap};
use serde::{Deserialize, Serialize};

use crate::exact::{bits, counts, objects};

/// An observation of one image, clean or attacked. It is stored without any rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observation {
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub(crate) pairs: Vec<(u8, u8, u64)>,
    #[serde(with = "counts")]
    pub(crate) overlap: Overlap,
    #[serde(with = "counts")]
    pub(crate) boundary: Overlap,
    #[serde(with = "objects")]
    pub(crate) objects: Objects,
    /// Mean cross-entropy over the labelled pixels.
    #[serde(with = "bits")]
    pub(crate) loss: f32,
    /// The largest change of a channel from the clean image.
    #[serde(with = "bits")]
    pub(crate) largest: f32,
    /// Share of values that did not change, not counting values of 0 and 1.
    #[serde(with = "bits")]
    pub(crate) unmoved: f32,
}

/// All observations of one image: the clean one, and one per candidate at each point of each curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageObservations {
    pub(crate) id: String,
    pub(crate) clean: Observation,
    pub(crate) attacked: Vec<Vec<Vec<Observation>>>,
}
