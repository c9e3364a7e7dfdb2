//! Whether a directory holds the same run or evaluation as the present one.

use std::path::Path;

use robustseg_datasets::Dataset;

use crate::exit::{BadData, Usage};
use crate::identity::{DATA, content_key};
use crate::provenance::Provenance;
use crate::records::samples::{SAMPLES, difference, recorded};

/// Requires that the run or evaluation in the directory at `path` has the identity of `now`.
/// `datasets` are the datasets of `now` by their roles.
///
/// # Errors
/// [`Usage`] with the differing keys of the spec, or [`BadData`] with the differences in the
/// data.
pub(crate) fn require_same(
    path: &Path,
    now: &Provenance,
    datasets: &[(&str, &Dataset)],
) -> anyhow::Result<()> {
    let Some(then) = Provenance::read(&path.join("provenance.json"))? else { return Ok(()) };
    if then.checkpoint.is_some() != now.checkpoint.is_some() {
        return Ok(());
    }
    let shown = path.display();
    let (what, advice) = match now.checkpoint {
        Some(_) => ("another evaluation", "take another --out, or go back to what it was"),
        None => (
            "the run of another spec",
            "take another --out, go back to what it was, or start over with --overwrite, which deletes that run",
        ),
    };
    if then.identity.is_empty() {
        return Err(Usage(format!(
            "{shown} was written by an older robustseg, which did not record the identity of a result; {advice}"
        ))
        .into());
    }
    let changed = then.identity.changed(&now.identity);
    if changed.is_empty() {
        return Ok(());
    }
    if changed.iter().all(|key| !key.starts_with(DATA) && *key != "model.pretrained") {
        let differences = then.identity.differences(&now.identity);
        let longer = if changed.contains(&"training.epochs") {
            format!(
                "; to train on from its weights, begin a new run with `from: {shown}/checkpoints/last.safetensors` under \
                 `training`"
            )
        } else {
            String::new()
        };
        return Err(Usage(format!("{shown} holds {what}: {differences}; {advice}{longer}")).into());
    }
    // The names of changed samples say more than the hash of all.
    let known = recorded(&path.join(SAMPLES));
    let (mut before, mut after, mut told) = (then.identity.clone(), now.identity.clone(), Vec::new());
    for (role, dataset) in datasets {
        let key = content_key(role);
        if before.get(&key) != after.get(&key) {
            let stamps = known.get(dataset.split()).map_or(&[][..], Vec::as_slice);
            told.push(format!("split {}: {}", dataset.split(), difference(stamps, dataset.stamps())));
            (before, after) = (before.without(&key), after.without(&key));
        }
    }
    let rest = before.differences(&after);
    told.extend((!rest.is_empty()).then_some(rest));
    let what = told.join("; ");
    Err(BadData(format!("{shown} holds a run of other data: {what}; {advice}")).into())
}
