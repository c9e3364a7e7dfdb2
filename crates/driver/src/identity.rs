//! What a run or an evaluation is of, by meaning and content: where files lie and how they are written does not count.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use robustseg_datasets::{Dataset, SampleStamp};
use robustseg_training::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::{BadData, Usage};
use crate::plan::Data;
use crate::provenance::Provenance;
use crate::run_directory::RunDirectory;
use crate::spec::Spec;

/// The file of a run directory that has the stamps of the samples that the run began with, one a line.
pub(crate) const SAMPLES: &str = "samples.jsonl";

/// What keys begin with whose values are of the data.
const DATA: &str = "data.";

/// Keys of a spec that change no weight: names, places, what is looked at and how often it is saved.
const IRRELEVANT: [&str; 10] = [
    "name",
    "device",
    "data.manifest",
    "data.root",
    "data.cache",
    "model.pretrained",
    "evaluation",
    "training.checkpoint_every",
    "training.validate_every",
    "training.validation_limit",
];

/// Keys of a manifest that change no pixel and no label. What its splits hold counts by its content.
const DESCRIPTION: [&str; 7] = ["name", "folder", "splits", "citation", "licence", "obtain", "archives"];

/// All that decides the weights of a training by `spec` from backbone weights with the SHA-256 `pretrained`.
pub(crate) fn of_training(
    spec: &Spec,
    data: &Data,
    train: &Dataset,
    validation: &Dataset,
    pretrained: Option<&str>,
) -> Identity {
    let mut identity = of_data(data, &[("train", train), ("validation", validation)]);
    let mut settings = json(spec);
    for key in IRRELEVANT {
        remove(&mut settings, key);
    }
    set_fields(&mut identity, "", &settings);
    // Of a method with settings the name is only part of a key.
    identity.set("training.method", &spec.training.method.name().into());
    identity.set("model.pretrained", &pretrained.map_or(Value::Null, Value::from));
    identity
}

/// All that decides the scores of the checkpoint with the SHA-256 `checkpoint`, evaluated on `dataset` as `spec` says.
pub(crate) fn of_evaluation(spec: &Spec, data: &Data, dataset: &Dataset, checkpoint: &str) -> Identity {
    let mut identity = of_data(data, &[("evaluation", dataset)]);
    identity.set("evaluation", &json(&spec.evaluation));
    identity.set("precision", &json(&spec.precision));
    identity.set("convolutions", &json(&spec.convolutions));
    identity.set("checkpoint", &checkpoint.into());
    identity
}

/// SHA-256 of what decides scores beside weights, samples and `spec.evaluation`.
pub(crate) fn of_scores(spec: &Spec, data: &Data) -> String {
    let mut identity = of_data(data, &[]);
    identity.set("precision", &json(&spec.precision));
    identity.set("convolutions", &json(&spec.convolutions));
    fingerprint(&identity)
}

/// All keys of `spec`.
pub(crate) fn of_spec(spec: &Spec) -> Identity {
    let mut identity = Identity::default();
    set_fields(&mut identity, "", &json(spec));
    identity
}

/// What the labels of `data` mean, and what these splits hold.
fn of_data(data: &Data, splits: &[(&str, &Dataset)]) -> Identity {
    let mut identity = Identity::default();
    let mut manifest = json(&data.manifest.meaning());
    for key in DESCRIPTION {
        remove(&mut manifest, key);
    }
    set_fields(&mut identity, "data.manifest.", &manifest);
    for (role, dataset) in splits {
        identity.set(&content_key(role), &dataset.content_sha256().into());
    }
    identity
}

fn content_key(role: &str) -> String {
    format!("{DATA}{role}.content")
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("specs and manifests are plain data")
}

fn set_fields(identity: &mut Identity, prefix: &str, fields: &Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        identity.set(&format!("{prefix}{key}"), value);
    }
}

fn remove(fields: &mut Value, key: &str) {
    let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
    let parent = if parent.is_empty() { Some(fields) } else { fields.get_mut(parent) };
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.remove(name);
    }
}

/// SHA-256 of what classes and label files mean in an identity; nothing if it does not say.
pub(crate) fn meaning_sha256(identity: &Identity) -> Option<String> {
    let meaning = identity.below(&format!("{DATA}manifest."));
    (!meaning.is_empty()).then(|| fingerprint(&meaning))
}

/// SHA-256 of an identity.
pub(crate) fn fingerprint(identity: &Identity) -> String {
    robustseg_files::sha256(identity.canonical())
}

/// SHA-256 of all that decides a training but its seed: trainings that differ in their seed alone share it.
pub(crate) fn without_seed(identity: &Identity) -> String {
    fingerprint(&identity.clone().without("seed"))
}

/// Requires that the run in the directory at `path`, or the evaluation for another one, is of the identity of `now`, which
/// sees `datasets`, by the parts that they play in it.
///
/// # Errors
/// [`Usage`] with the keys of the spec that differ, or [`BadData`] with what differs in the data.
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
            "{shown} is of an older robustseg, which did not keep what a result is of; {advice}"
        ))
        .into());
    }
    let changed = then.identity.changed(&now.identity);
    if changed.is_empty() {
        return Ok(());
    }
    if changed.iter().all(|key| !key.starts_with(DATA) && *key != "model.pretrained") {
        let differences = then.identity.differences(&now.identity);
        return Err(Usage(format!("{shown} holds {what}: {differences}; {advice}")).into());
    }
    // What can be said about files says more than their hash.
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

/// A sample in [`SAMPLES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Recorded {
    split: String,
    id: String,
    /// The first half of the image's stamp.
    image: String,
    /// The first half of the label's stamp.
    label: String,
}

impl Recorded {
    fn of(split: &str, stamp: &SampleStamp) -> Self {
        let half = |stamp: &[u8]| {
            stamp[..16].iter().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        Self {
            split: split.into(),
            id: stamp.id.clone(),
            image: half(&stamp.image),
            label: half(&stamp.label),
        }
    }
}

/// Keeps the stamps of the samples of `datasets`, for [`require_same`] to name those that changed.
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

/// The samples recorded in the file at `path`, by split; what cannot be read is left out, for it serves words alone.
fn recorded(path: &Path) -> HashMap<String, Vec<Recorded>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut splits: HashMap<String, Vec<Recorded>> = HashMap::new();
    for sample in text.lines().filter_map(|line| serde_json::from_str::<Recorded>(line).ok()) {
        splits.entry(sample.split.clone()).or_default().push(sample);
    }
    splits
}

/// In which samples a split differs, in words.
fn difference(then: &[Recorded], now: &[SampleStamp]) -> String {
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
