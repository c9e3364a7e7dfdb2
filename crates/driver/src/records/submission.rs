//! Job arrays that a sweep submitted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A submitted job array: `sweep/slurm/N.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// The job's number.
    pub job: String,
    /// The runs by their indices in the array.
    pub runs: BTreeMap<usize, String>,
}
