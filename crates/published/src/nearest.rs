//! Guesses the kind of a file by the names of its tensors.

use crate::Weights;
use crate::kind::Kind;
use crate::kinds::KINDS;
use crate::spelling::Spelling;

/// Most names that a description shows.
const SHOWN: usize = 4;

impl Weights {
    /// The kind that knows most of the file's names, and their share; none if no kind knows any.
    pub fn nearest(&self) -> Option<(&'static Kind, f64)> {
        let total = self.shapes().count().max(1) as f64;
        let share = |kind: &'static Kind| (kind, Spelling::of(self, kind, kind.left).known as f64 / total);
        let mut best = None;
        for (kind, share) in KINDS.iter().map(|kind| share(kind)) {
            if share > best.map_or(0.0, |(_, best)| best) {
                best = Some((kind, share));
            }
        }
        best
    }

    /// The file's names, and the kind that knows most of them, for people.
    pub fn described(&self) -> String {
        let names: Vec<&str> = self.shapes().map(|(name, _)| name).collect();
        let more = if names.len() > SHOWN { ", ..." } else { "" };
        let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let tensors = robustseg_words::counted(names.len(), "tensor");
        let nearest = match self.nearest() {
            Some((kind, share)) => {
                let percent = (100.0 * share).floor();
                format!("the nearest kind is {}, which knows {percent} % of the names", kind.name)
            }
            None => "no kind knows any of the names".into(),
        };
        format!("it has {tensors} ({shown}{more}); {nearest}")
    }
}
