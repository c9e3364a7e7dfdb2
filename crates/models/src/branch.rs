//! Heads that a training method adds to a network.

use std::collections::BTreeSet;

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most branches of a network.
const MOST: usize = 16;

/// A further head of a network, next to the main one. Training methods ask for branches; a network
/// builds one head of its own kind for each. Predictions come from the main head alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// First part of the names of the branch's variables: lower-case letters, digits and `_`.
    pub name: String,
    /// Channels of the branch's logits, 1 to 255.
    pub channels: usize,
}

impl Branch {
    /// The branch `name` with logits of `channels` channels.
    pub fn new(name: &str, channels: usize) -> Self {
        Self { name: name.into(), channels }
    }
}

/// Checks that a network can have all of `branches`.
pub(crate) fn validate(branches: &[Branch]) -> Result<()> {
    let refuse = |reason: String| Err(Error::Setting { field: "branches", reason });
    if branches.len() > MOST {
        return refuse(format!("must be at most {MOST}, found {}", branches.len()));
    }
    let mut names = BTreeSet::new();
    for Branch { name, channels } in branches {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) {
            return refuse(format!("must be named by lower-case letters, digits and _, found {name:?}"));
        }
        if !names.insert(name) {
            return refuse(format!("must have different names, found `{name}` twice"));
        }
        if !(1..=255).contains(channels) {
            return refuse(format!("must have 1 to 255 channels, found {channels} in `{name}`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_no_checkpoint_could_name_are_refused() {
        assert!(validate(&[Branch::new("auxiliary", 3), Branch::new("mask_2", 2)]).is_ok());
        for branches in [
            vec![Branch::new("mask", 2), Branch::new("mask", 2)],
            vec![Branch::new("", 2)],
            vec![Branch::new("a.b", 2)],
            vec![Branch::new("mask", 0)],
            (0..=MOST).map(|index| Branch::new(&format!("b{index}"), 2)).collect(),
        ] {
            let found = validate(&branches);
            assert!(matches!(found, Err(Error::Setting { field: "branches", .. })), "{branches:?}");
        }
    }
}
