//! The spec of an experiment: one YAML file, with every default filled in and every fault reported
//! with line and column.
//!
//! Reading takes four steps: `document` parses YAML into a tree with positions, `layers` puts it
//! over the specs that it names as its bases (`merge`), `overrides` inserts the values of `--set`
//! (`argument`), and `typed` converts the tree into a [`Spec`]. Finally `ranges` refuses senseless
//! values.

mod argument;
mod document;
mod fault;
mod layers;
mod merge;
mod overrides;
mod page;
mod ranges;
mod schema;
mod shown;
mod sweep;
mod typed;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use robustseg_datasets::OnBadSample;
use robustseg_evaluation::{EvaluationConfig, Weights};
use robustseg_files::{TextFault, read_text};
use robustseg_models::{NetworkConfig, NetworkSpec};
use robustseg_training::TrainingConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::{Convolutions, DeviceChoice, Precision};
pub(crate) use argument::read_value;
use document::Node;
pub use fault::{Fault, Place, SpecError};
pub use layers::{Layer, LayerSource};
pub use merge::Change;
pub(crate) use sweep::{COMPARISON, OWN_FOLDER};
pub use sweep::{Member, Sweep};

/// The largest accepted spec file, in bytes.
const LARGEST: u64 = 1 << 20;

/// An experiment, as run by `robustseg run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The experiment's name. It is also the name of the run directory and of the line in figures.
    pub name: String,
    /// Seed of every draw: weights, order, augmentation, dropout, attacks.
    #[serde(default)]
    pub seed: u64,
    /// The device: `auto`, `cpu`, `cuda` or `cuda:N`.
    #[serde(default)]
    pub device: DeviceChoice,
    /// The precision of the network: `f32`, `bf16`, or on a GPU `tf32`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// How a GPU's convolution algorithms are chosen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub convolutions: Convolutions,
    /// The data.
    pub data: DataSpec,
    /// The network.
    #[serde(default)]
    pub model: NetworkSpec,
    /// The training.
    pub training: TrainingConfig,
    /// The evaluation.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
}

// Settings for certain devices are left out of the spec of a run that does not use them.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The data and the splits to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The data's manifest. A relative path starts at the spec's folder.
    pub manifest: PathBuf,
    /// The data's folder. The default is the manifest's folder under `$ROBUSTSEG_DATA`. A relative
    /// path starts at the spec's folder.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// The folder of packs made by `robustseg data prepare`, to read decoded samples from. By
    /// default the data's files are decoded. A relative path starts at the spec's folder.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// How to treat missing or broken training samples.
    #[serde(default)]
    pub on_bad_sample: OnBadSample,
    /// The split to train on.
    #[serde(default = "train")]
    pub train_split: String,
    /// The split to validate and evaluate on.
    #[serde(default = "validation")]
    pub validation_split: String,
}

fn train() -> String {
    "train".into()
}

fn validation() -> String {
    "val".into()
}

/// A spec with the layers that it was made of.
#[derive(Clone, Debug)]
pub struct Layered {
    /// The spec.
    pub spec: Spec,
    /// Its bases, the file itself, and the arguments of `--set`, the lowest first.
    pub layers: Vec<Layer>,
}

impl Layered {
    /// Reads the spec at `path` with the bases that it names and with `overrides`
    /// (`key.path=value`), checks every range, and makes relative paths absolute: one that a base
    /// wrote starts at the base's folder, any other at the spec's.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, SpecError> {
        let (mut node, mut layers) = layers::of_file(path)?;
        let content = |fault| SpecError::Content { path: path.to_owned(), fault };
        for argument in overrides {
            let changes = node.set(argument, layers.len()).map_err(content)?;
            layers.push(Layer { source: LayerSource::Override(argument.clone()), changes });
        }
        let mut spec = Spec::of(&node).map_err(content)?;
        spec.resolve_from(path, &node)?;
        Ok(Self { spec, layers })
    }

    /// The files of the spec.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().filter_map(|layer| match &layer.source {
            LayerSource::File(path) => Some(path.as_path()),
            LayerSource::Override(_) => None,
        })
    }
}

impl Spec {
    /// The spec of [`Layered::read`].
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, SpecError> {
        Layered::read(path, overrides).map(|layered| layered.spec)
    }

    /// Parses a spec from `text` with `overrides`. Paths stay as written, and there is no base.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self, Fault> {
        let mut node = Node::parse(text)?.without_bases()?;
        for (index, argument) in overrides.iter().enumerate() {
            node.set(argument, index + 1)?;
        }
        Self::of(&node)
    }

    /// The spec that `node` describes. Paths stay as written.
    fn of(node: &Node) -> Result<Self, Fault> {
        if let Some(entry) = node.entry(sweep::AXES) {
            let what = "this file is a sweep of many runs; start it with `robustseg sweep`";
            return Err(Fault::new(what).under(sweep::AXES, &entry.place));
        }
        let mut spec = Self::deserialize(node)?;
        spec.training.resolve();
        if spec.training.average.is_some() && !node.has(&["evaluation", "weights"].map(str::to_owned)) {
            spec.evaluation.weights = Weights::Average;
        }
        ranges::check(&spec).map_err(|mut fault| {
            // A network's settings may be given without its name.
            if fault.path.len() == 3 && fault.path[0] == "model" && !node.has(&fault.path[..2]) {
                fault.path.remove(1);
            }
            let place = node.deepest(&fault.path).place.clone();
            fault.at(&place)
        })?;
        Ok(spec)
    }

    /// Makes the relative paths of `node`, the tree of the spec in the file at `path`, absolute.
    fn resolve_from(&mut self, path: &Path, node: &Node) -> Result<(), SpecError> {
        let absolute = std::path::absolute(path)
            .map_err(|error| SpecError::File { path: path.to_owned(), reason: error.to_string() })?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        self.resolve(|key, written| {
            let keys: Vec<String> = key.iter().map(|key| (*key).to_owned()).collect();
            let start = layers::folder_of(&node.deepest(&keys).place, folder);
            start.join(written).components().collect()
        });
        Ok(())
    }

    /// Makes relative paths absolute by `absolute`, which gets the key of the path.
    fn resolve(&mut self, absolute: impl Fn(&[&str], &Path) -> PathBuf) {
        let Self { data, training, evaluation, model, .. } = self;
        data.manifest = absolute(&["data", "manifest"], &data.manifest);
        for (key, path) in [
            (["data", "root"], &mut data.root),
            (["data", "cache"], &mut data.cache),
            (["training", "from"], &mut training.from),
        ] {
            *path = path.as_deref().map(|path| absolute(&key, path));
        }
        for (name, source) in &mut evaluation.sources {
            *source = absolute(&["evaluation", "sources", name], source);
        }
        if let Some(source) = &mut model.pretrained
            && !is_hub_name(source)
        {
            let path = absolute(&["model", "pretrained"], Path::new(source));
            *source = path.to_string_lossy().into_owned();
        }
    }

    /// The configuration of the network to train, for `num_classes` classes.
    pub fn network(&self, num_classes: usize) -> NetworkConfig {
        self.model.network(num_classes, self.training.method.branches(num_classes))
    }

    /// The split to evaluate on.
    pub fn evaluation_split(&self) -> &str {
        self.evaluation.split.as_ref().unwrap_or(&self.data.validation_split)
    }

    /// The spec as YAML with every default filled in. Parsing it gives the same spec.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_yaml::to_string(self)?)
    }
}

/// Whether a source of weights is a model on the hub rather than a file.
pub fn is_hub_name(source: &str) -> bool {
    source.starts_with("timm/")
}

fn read(path: &Path) -> Result<String, SpecError> {
    read_text(path, LARGEST).map_err(|fault| {
        let reason = match fault {
            TextFault::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
                "no such file; the specs that come with robustseg are in experiments/".into()
            }
            TextFault::TooLarge(_) => format!("{fault}, so it is hardly a spec"),
            TextFault::NotUtf8(_) => "is not UTF-8 text, so it is not a spec".into(),
            TextFault::Unreadable(_) => fault.to_string(),
        };
        SpecError::File { path: path.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests;
