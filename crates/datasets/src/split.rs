//! A split of a dataset in a manifest.

use std::path::PathBuf;

use robustseg_files::sha256;
use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// A split of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The list of its samples, below the dataset's folder. The layout determines whether splits
    /// have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The name of the split's folder, in place of `{split}`. The default is the split's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The part of the samples to take, in percent, in an order that follows from a hash of the ids:
    /// `[0, 80]` and `[80, 100]` are two parts without common samples. The default is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<[u8; 2]>,
    /// Number of samples. Without it any number above 0 is right, except for generated data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
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
    /// Takes the split's part of the samples with these `ids`: whether each one belongs to it.
    pub(crate) fn part<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Option<Vec<bool>> {
        let [first, end] = self.percent?;
        let mut order: Vec<(String, usize)> =
            ids.enumerate().map(|(index, id)| (sha256(id.as_bytes()), index)).collect();
        order.sort_unstable();
        let at = |percent: u8| order.len() * usize::from(percent) / 100;
        let mut taken = vec![false; order.len()];
        for (_, index) in &order[at(first)..at(end)] {
            taken[*index] = true;
        }
        Some(taken)
    }

    /// Checks a split of a layout with `lists`. `is_split` recognises the names of all splits.
    pub(crate) fn validate(&self, lists: Lists, is_split: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        if let Some([first, end]) = self.percent
            && (first >= end || end > 100)
        {
            return Err(Refusal::new("percent", format!("[{first}, {end}] is no part of [0, 100]")));
        }
        if self.count == Some(0) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_together_all() {
        let ids: Vec<String> = (0..37).map(|number| format!("image_{number}")).collect();
        let part = |percent| {
            Split { percent: Some(percent), ..Split::default() }.part(ids.iter().map(String::as_str)).unwrap()
        };
        let (train, val) = (part([0, 80]), part([80, 100]));
        assert!(train.iter().zip(&val).all(|(train, val)| train != val));
        assert_eq!(val.iter().filter(|taken| **taken).count(), 8);
        // A hash, so that neighbours are spread.
        assert!(!val[29..].iter().all(|taken| *taken));
        assert_eq!(Split::default().part(std::iter::empty()), None);
    }
}
