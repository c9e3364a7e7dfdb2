//! One result given twice, which would count as two seeds.

use std::path::Path;

use super::seeds;
use crate::exit::Usage;
use crate::pages::summary::RunSummary;

/// Refuses two of `runs` that are the same result: one directory, a copy, or trainings with the
/// same setting and seed. All `runs` were evaluated alike.
///
/// # Errors
/// [`Usage`] that names both runs and the reason.
pub(super) fn refuse(runs: &[RunSummary]) -> Result<(), Usage> {
    for (place, run) in runs.iter().enumerate() {
        let copied = runs[..place].iter().find_map(|other| Some((other, shared(other, run)?)));
        if let Some((other, shared)) = copied {
            let (a, b) = (other.path.display(), run.path.display());
            return Err(Usage(format!("{a} and {b} are one result: {shared}; give one of them")));
        }
    }
    Ok(())
}

/// The reason why two runs are the same result, in words.
fn shared(one: &RunSummary, other: &RunSummary) -> Option<String> {
    let place = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if place(&one.path) == place(&other.path) {
        return Some("it is the same directory".into());
    }
    let (a, b) = (&one.evaluation, &other.evaluation);
    match (&a.checkpoint, &b.checkpoint) {
        (Some(a), Some(b)) if a == b => {
            return Some(format!(
                "they evaluated the same checkpoint (SHA-256 {})",
                a.get(..12).unwrap_or(a)
            ));
        }
        (Some(_), Some(_)) => {}
        // The checkpoints are unknown, but only a copy has all scores in common.
        _ if a.clean == b.clean && a.curves == b.curves => return Some("all their scores are equal".into()),
        _ => {}
    }
    let seed = |run: &RunSummary| run.evaluation.training.as_ref().map(|training| training.seed);
    let same =
        seeds::setting(a).is_some() && seeds::setting(a) == seeds::setting(b) && seed(one) == seed(other);
    same.then(|| {
        format!(
            "they are trainings of the same setting with the same seed, {}",
            seed(one).unwrap_or_default()
        )
    })
}
