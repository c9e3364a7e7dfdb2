//! `samples.jsonl`: the stamps of samples that a run began with.

use std::collections::HashMap;
use std::path::Path;

use robustseg_datasets::{Dataset, SampleStamp};
use robustseg_files::hexadecimal;
use serde::{Deserialize, Serialize};

use crate::run_directory::RunDirectory;

/// The file of samples that a run began with, one per line.
pub(crate) const SAMPLES: &str = "samples.jsonl";

/// A sample in [`SAMPLES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) split: String,
    pub(crate) id: String,
    /// The first half of the image's stamp.
    pub(crate) image: String,
    /// The first half of the label's stamp.
    pub(crate) label: String,
}

impl Recorded {
    fn of(split: &str, stamp: &SampleStamp) -> Self {
        let half = |stamp: &[u8]| hexadecimal(&stamp[..16]);
        Self {
            split: split.into(),
            id: stamp.id.clone(),
            image: half(&stamp.image),
            label: half(&stamp.label),
        }
    }
}

/// Writes the stamps of the samples of `datasets`, so that a later run can name those that changed.
pub(crate) fn record_samples<'a>(
    directory: &RunDirectory,
    datasets: impl IntoIterator<Item = &'a Dataset>,
) -> anyhow::Result<()> {
    let mut lines = String::new();
    for dataset in datasets {
        for stamp in dataset.stamps() {
            lines += &serde_json::to_string(&Recorded::of(dataset.split(), stamp))?;
            lines.push('\n');
        }
    }
    directory.write(SAMPLES, lines.as_bytes())
}

/// The samples in the file at `path`, by split. Damaged lines are left out: they only serve
/// messages.
pub(crate) fn recorded(path: &Path) -> HashMap<String, Vec<Recorded>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut splits: HashMap<String, Vec<Recorded>> = HashMap::new();
    for sample in text.lines().filter_map(|line| serde_json::from_str::<Recorded>(line).ok()) {
        splits.entry(sample.split.clone()).or_default().push(sample);
    }
    splits
}

/// The samples in which a split differs, in words.
pub(crate) fn difference(then: &[Recorded], now: &[SampleStamp]) -> String {
    if then.is_empty() {
        return "its samples or their content have changed".into();
    }
    let now: Vec<Recorded> = now.iter().map(|stamp| Recorded::of("", stamp)).collect();
    let by_id = |samples: &[Recorded]| -> HashMap<String, Recorded> {
        samples.iter().map(|sample| (sample.id.clone(), sample.clone())).collect()
    };
    let (old, new) = (by_id(then), by_id(&now));
    let ids = |samples: &[Recorded], wanted: &dyn Fn(&Recorded) -> bool| -> Vec<String> {
        samples.iter().filter(|sample| wanted(sample)).map(|sample| sample.id.clone()).collect()
    };
    let other = |part: fn(&Recorded) -> &str| {
        ids(&now, &|sample| old.get(&sample.id).is_some_and(|before| part(before) != part(sample)))
    };
    let parts = [
        ("the label file has changed of", other(|sample| &sample.label)),
        ("the image file has changed of", other(|sample| &sample.image)),
        ("no longer there:", ids(then, &|sample| !new.contains_key(&sample.id))),
        ("new:", ids(&now, &|sample| !old.contains_key(&sample.id))),
    ];
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| {
            let first = ids[..ids.len().min(3)].join(", ");
            match ids.len().saturating_sub(3) {
                0 => format!("{what} {first}"),
                more => format!("{what} {first} and {more} more"),
            }
        })
        .collect();
    if told.is_empty() { "its samples are in another order".into() } else { told.join(", ") }
}
