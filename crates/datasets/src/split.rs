//! A split of a dataset in a manifest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// A split of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The list of its samples, below the dataset's folder. The layout determines whether splits
    /// have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Number of samples.
    pub count: usize,
    /// SHA-256 of its sorted ids, one per line, as 64 lower-case hexadecimal digits: the hash of
    /// the sorted official list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_sha256: Option<String>,
    /// Splits that may share samples with it. A split that names itself may serve for both training
    /// and validation, for example to test whether a network can memorise a few images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_overlap: Vec<String>,
}

/// Whether the splits of a layout have lists of their samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// Each split needs its `file`.
    Required,
    /// A split has a `file`, or else all samples found.
    Optional,
    /// No split may have a `file`.
    Unknown,
}

impl Split {
    /// Checks a split of a layout with `lists`. `is_split` recognises the names of all splits.
    pub(crate) fn validate(&self, lists: Lists, is_split: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        if self.count == 0 {
            return Err(Refusal::new("count", "must be at least 1"));
        }
        match (lists, &self.file) {
            (Lists::Required, None) => return Err(Refusal::new("file", "is missing")),
            (Lists::Unknown, Some(_)) => return Err(Refusal::new("file", "this layout has no lists")),
            _ => {}
        }
        if self.ids_sha256.as_ref().is_some_and(|hash| !robustseg_files::is_hexadecimal(hash, 64)) {
            return Err(Refusal::new("ids_sha256", "expected 64 hexadecimal digits, in lower case"));
        }
        match self.may_overlap.iter().find(|other| !is_split(other)) {
            Some(other) => Err(Refusal::new("may_overlap", format!("there is no split `{other}`"))),
            None => Ok(()),
        }
    }
}
