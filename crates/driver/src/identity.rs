//! The identity of a run or an evaluation: everything that decides its result, by meaning and
//! content. Places and names of files do not count.

use robustseg_datasets::Dataset;
use robustseg_evaluation::SourceRecord;
use robustseg_training::Identity;
use serde::Serialize;
use serde_json::Value;

use crate::data::Data;
use crate::spec::Spec;

/// The prefix of keys about the data.
pub(crate) const DATA: &str = "data.";

/// Keys of a spec that change no weight: names, places, evaluation, and how often something is
/// saved.
const IRRELEVANT: [&str; 12] = [
    "name",
    "device",
    "data.manifest",
    "data.root",
    "data.cache",
    "model.pretrained",
    "evaluation",
    "training.from",
    "training.fit_memory",
    "training.recompute",
    "training.checkpoint_every",
    "training.keep_best",
];

/// Keys that change no weight unless the patience with validations ends the training.
const OF_VALIDATIONS: [&str; 2] = ["training.validate_every", "training.validation_limit"];

/// Keys of a manifest that change no pixel and no label. Splits count by their content.
const DESCRIPTION: [&str; 7] = ["name", "folder", "splits", "citation", "licence", "obtain", "archives"];

/// Everything that decides the weights of a training by `spec` from weights with the SHA-256
/// `initial`, which are the backbone's, or the whole network's if the training starts from a
/// checkpoint.
pub(crate) fn of_training(
    spec: &Spec,
    data: &Data,
    train: &Dataset,
    validation: &Dataset,
    initial: Option<&str>,
) -> Identity {
    let mut identity = of_data(data, &[("train", train), ("validation", validation)]);
    let mut settings = json(spec);
    let of_validations = if spec.training.patience.is_none() { &OF_VALIDATIONS[..] } else { &[] };
    for key in IRRELEVANT.iter().chain(of_validations) {
        remove(&mut settings, key);
    }
    set_fields(&mut identity, "", &settings);
    // The name of a method with settings is otherwise only a part of keys.
    identity.set("training.method", &spec.training.method.name().into());
    let whole = spec.training.from.is_some();
    identity.set("model.pretrained", &initial.filter(|_| !whole).map_or(Value::Null, Value::from));
    if let Some(checkpoint) = initial.filter(|_| whole) {
        identity.set("training.from", &checkpoint.into());
    }
    identity
}

/// Everything that decides the scores of the checkpoint with the SHA-256 `checkpoint`, evaluated on
/// `dataset` as `spec` says, with examples from `sources`.
pub(crate) fn of_evaluation(
    spec: &Spec,
    data: &Data,
    dataset: &Dataset,
    checkpoint: &str,
    sources: &[SourceRecord],
) -> Identity {
    let mut identity = of_data(data, &[("evaluation", dataset)]);
    let mut evaluation = json(&spec.evaluation);
    // Older versions knew one protocol and did not name it.
    if spec.evaluation.protocol.is_whole_image() {
        remove(&mut evaluation, "protocol");
    }
    remove(&mut evaluation, "sources");
    identity.set("evaluation", &evaluation);
    for SourceRecord { name, checkpoint, .. } in sources {
        identity.set(&format!("evaluation.sources.{name}"), &checkpoint.clone().into());
    }
    identity.set("precision", &json(&spec.precision));
    identity.set("convolutions", &json(&spec.convolutions));
    identity.set("checkpoint", &checkpoint.into());
    identity
}

/// SHA-256 of everything that decides scores except weights, samples and `spec.evaluation`.
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

/// Whether another value of `key` in the file of `spec` means other weights.
pub(crate) fn decides_weights(key: &str, spec: &Spec) -> bool {
    let of_validations = if spec.training.patience.is_none() { &OF_VALIDATIONS[..] } else { &[] };
    let is =
        |other: &&str| key.strip_prefix(*other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    !IRRELEVANT.iter().chain(of_validations).any(is)
}

/// The meaning of the labels of `data`, and the content of `splits`.
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

pub(crate) fn content_key(role: &str) -> String {
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

/// SHA-256 of the meaning of classes and label files. `None` if the identity does not hold it.
pub(crate) fn meaning_sha256(identity: &Identity) -> Option<String> {
    let meaning = identity.below(&format!("{DATA}manifest."));
    (!meaning.is_empty()).then(|| fingerprint(&meaning))
}

/// SHA-256 of an identity.
pub(crate) fn fingerprint(identity: &Identity) -> String {
    robustseg_files::sha256(identity.canonical())
}

/// SHA-256 of everything that decides a training except its seed. Trainings that differ only in
/// their seed share it.
pub(crate) fn without_seed(identity: &Identity) -> String {
    fingerprint(&identity.clone().without("seed"))
}
