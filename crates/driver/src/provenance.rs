//! The origin of results: `provenance.json`.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use robustseg_datasets::{DECODERS, Dataset};
use robustseg_models::{ImportOrigin, Origin, TrainingOrigin};
use robustseg_training::Identity;
use robustseg_words::plain;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::exit::BadData;
use crate::identity;
use crate::spec::Spec;

/// The programs, data and settings of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// SHA-256 of the identity.
    pub fingerprint: String,
    /// Everything that decides the result, by meaning and content. Only an invocation of the same
    /// identity may resume a saved state or write the directory. Empty in files of older versions.
    #[serde(default)]
    pub identity: Identity,
    /// The spec's seed, from which every draw follows.
    pub seed: u64,
    /// The data.
    pub data: DataProvenance,
    /// The weights that the backbone, or the whole network, started from, if they were not random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedProvenance>,
    /// The evaluated checkpoint, if nothing was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointProvenance>,
    /// One per start or resumption.
    pub invocations: Vec<Invocation>,
}

/// The data of a result by place and content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataProvenance {
    /// The manifest's path.
    pub manifest: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// The folder that the data was read from.
    pub root: String,
    /// The folder of packs that decoded samples were read from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// The image decoders, which differ in the last bits of a JPEG.
    pub decoder: String,
    /// The used splits. A split whose content changed between two evaluations has two entries, the
    /// later content last.
    pub splits: Vec<SplitProvenance>,
    /// Warnings about the data, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The weights that a training starts from, by their content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PretrainedProvenance {
    /// The source, as in the spec.
    pub source: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// A checkpoint by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointProvenance {
    /// Its path.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The training that the checkpoint names, if any.
    #[serde(default)]
    pub training: Option<TrainingOrigin>,
    /// The file of another program that the checkpoint's weights come from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportOrigin>,
}

/// A split by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitProvenance {
    /// The split's name.
    pub name: String,
    /// The number of its samples.
    pub samples: usize,
    /// SHA-256 of the sorted ids, one per line.
    pub ids_sha256: String,
    /// SHA-256 of ids and content of all samples, in the split's order. Empty in files of older
    /// versions.
    #[serde(default)]
    pub content_sha256: String,
}

/// One start of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The command line.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub time: u64,
    /// The commit of the program. Empty if it was built outside a repository.
    pub commit: String,
    /// The version of robustseg.
    pub robustseg: String,
    /// The version of candle.
    pub candle: String,
    /// The target, for example `x86_64-linux`.
    pub platform: String,
    /// The device.
    pub device: String,
    /// Threads on the CPU.
    pub threads: usize,
    /// Differences to the last invocation that decide no weight: places of files, the evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

impl Provenance {
    /// The provenance of a result of `identity` from `splits` of the `data` of `spec`, without an
    /// invocation.
    pub fn of<'a>(
        identity: Identity,
        spec: &Spec,
        data: &Data,
        splits: impl IntoIterator<Item = &'a Dataset>,
    ) -> Self {
        Self {
            fingerprint: identity::fingerprint(&identity),
            identity,
            seed: spec.seed,
            data: DataProvenance {
                manifest: spec.data.manifest.display().to_string(),
                manifest_sha256: data.manifest_sha256.clone(),
                root: data.root.display().to_string(),
                cache: data.cache.as_ref().map(|cache| cache.display().to_string()),
                decoder: DECODERS.into(),
                splits: splits.into_iter().map(SplitProvenance::of).collect(),
                warnings: Vec::new(),
            },
            pretrained: None,
            checkpoint: None,
            invocations: Vec::new(),
        }
    }

    /// This provenance appended to the `former` one of the same directory, which is kept whole.
    #[must_use]
    pub fn appended_to(self, former: Self) -> Self {
        let mut splits = former.data.splits.clone();
        splits.extend(self.data.splits.into_iter().filter(|split| !former.data.splits.contains(split)));
        let mut warnings = former.data.warnings.clone();
        warnings.extend(self.data.warnings.into_iter().filter(|told| !former.data.warnings.contains(told)));
        let invocations = former.invocations.iter().chain(&self.invocations).cloned().collect();
        Self { data: DataProvenance { splits, warnings, ..former.data }, invocations, ..former }
    }

    /// Reads the file at `path`. `None` if the file does not exist.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let path = path.display();
                BadData(format!("{path}: is not what robustseg writes ({}); is it damaged?", plain(error)))
                    .into()
            }),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

impl Invocation {
    /// This process, computing on `device`.
    pub fn now(device: &str) -> Self {
        // The date is only shown. Nothing is computed from it.
        #[allow(clippy::disallowed_methods)]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            command: std::env::args().collect(),
            time: since.map_or(0, |since| since.as_secs()),
            commit: option_env!("ROBUSTSEG_COMMIT").unwrap_or_default().into(),
            robustseg: env!("CARGO_PKG_VERSION").into(),
            candle: env!("ROBUSTSEG_CANDLE").into(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            device: device.into(),
            threads: rayon::current_num_threads(),
            changes: Vec::new(),
        }
    }
}

impl CheckpointProvenance {
    /// The checkpoint at `path` in its present state. Its metadata name `origin`.
    pub fn of(path: &Path, origin: Origin) -> Result<Self, BadData> {
        let Origin { training, import, .. } = origin;
        Ok(Self { path: path.display().to_string(), sha256: file_sha256(path)?, training, import })
    }

    /// [`origin_in_words`] of the checkpoint.
    pub(crate) fn origin_in_words(&self) -> String {
        origin_in_words(self.training.as_ref(), self.import.as_ref())
    }
}

/// The training that made a checkpoint, or the file that it was imported from, in words.
pub(crate) fn origin_in_words(training: Option<&TrainingOrigin>, import: Option<&ImportOrigin>) -> String {
    match (training, import) {
        (Some(TrainingOrigin { method, seed, step, .. }), _) => {
            format!("method {method}, seed {seed}, step {step}")
        }
        (None, Some(ImportOrigin { file, kind, .. })) => format!("imported from {file} as {kind}"),
        (None, None) => "method, seed and step unknown".into(),
    }
}

impl SplitProvenance {
    fn of(dataset: &Dataset) -> Self {
        Self {
            name: dataset.split().into(),
            samples: dataset.len(),
            ids_sha256: dataset.ids_sha256(),
            content_sha256: dataset.content_sha256(),
        }
    }
}

/// SHA-256 of the file of weights at `path`.
pub(crate) fn file_sha256(path: &Path) -> Result<String, BadData> {
    let found = robustseg_files::sealed::sha256_of_file(path);
    found.map_err(|reason| BadData(format!("checkpoint {}: {reason}", path.display())))
}
