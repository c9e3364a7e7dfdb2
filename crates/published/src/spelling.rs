//! How a file spells the names of its kind.

use crate::Weights;
use crate::kind::Kind;
use crate::names::{Rules, translated};
use crate::prefix::prefix;

/// The way in which a file spells the names of a kind.
pub(crate) struct Spelling {
    pub(crate) rules: &'static [Rules],
    /// What wrappers put before the names.
    pub(crate) prefix: String,
    /// How many of the file's names it knows.
    pub(crate) known: usize,
}

impl Spelling {
    /// The spelling of `kind` that knows most names of `weights`, the first of several. Names that
    /// begin like one of `left` count as known.
    pub(crate) fn of(weights: &Weights, kind: &Kind, left: &[&str]) -> Self {
        let names = weights.shapes().map(|(name, _)| name);
        let mut best = Self { rules: &[], prefix: String::new(), known: 0 };
        for rules in kind.spellings.iter().copied() {
            let is_known = |name: &str| {
                translated(name, rules).is_some() || left.iter().any(|start| name.starts_with(start))
            };
            let (prefix, known) = prefix(&names, is_known);
            if known > best.known || best.rules.is_empty() {
                best = Self { rules, prefix, known };
            }
        }
        best
    }
}
