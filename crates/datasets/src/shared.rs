//! Images in two splits, recognised by their content.

use std::collections::HashMap;

use crate::Dataset;

/// Pairs of ids to keep.
const EXAMPLES: usize = 3;

/// Images in two splits, under any names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Samples of the second split whose image is also in the first.
    pub count: usize,
    /// Ids of the first few, in the first and the second split.
    pub examples: Vec<(String, String)>,
}

impl Shared {
    /// The common images of two lists of ids and hashes. `None` if they have nothing in common.
    pub(crate) fn of(first: &[(String, [u8; 32])], second: &[(String, [u8; 32])]) -> Option<Self> {
        let known: HashMap<&[u8; 32], &str> =
            first.iter().map(|(id, content)| (content, id.as_str())).collect();
        let pairs: Vec<_> = second
            .iter()
            .filter_map(|(id, content)| Some(((*known.get(content)?).to_owned(), id.clone())))
            .collect();
        let count = pairs.len();
        (count > 0).then(|| Self { count, examples: pairs.into_iter().take(EXAMPLES).collect() })
    }
}

impl Dataset {
    /// The images of `other` that are also in this split, by their [stamps](Dataset::stamps).
    /// Nothing is decoded, so a picture that was saved again in another format is not recognised.
    /// `None` if they have no image in common.
    pub fn shared_with(&self, other: &Self) -> Option<Shared> {
        let images = |dataset: &Self| -> Vec<_> {
            dataset.stamps().iter().map(|stamp| (stamp.id.clone(), stamp.image)).collect()
        };
        Shared::of(&images(self), &images(other))
    }
}
