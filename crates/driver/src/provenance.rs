//! Where results come from: `provenance.json`.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, anyhow};
use robustseg_datasets::{DECODERS, Dataset};
use robustseg_words::plain;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::plan::Data;
use crate::spec::Spec;

/// What a run was made by and from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Hash of the spec and the manifest, but for where data lies and which device computes: what decides whether a
    /// saved state may be resumed.
    pub fingerprint: String,
    /// The spec's seed, from which every draw follows.
    pub seed: u64,
    /// The data.
    pub data: DataProvenance,
    /// The checkpoint, where one was evaluated and nothing trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointProvenance>,
    /// One for each time that the run was started or resumed.
    pub invocations: Vec<Invocation>,
}

/// Hashes that tell whether two runs saw the same data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataProvenance {
    /// The manifest's path.
    pub manifest: String,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// The folder that the data was read from.
    pub root: String,
    /// The folder of packs that decoded samples were read from, if they were: the same samples as from the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// What decoded the images: decoders differ in the last bits of a JPEG.
    pub decoder: String,
    /// The splits that were used.
    pub splits: Vec<SplitProvenance>,
    /// What speaks against numbers from them although no file is at fault, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A checkpoint by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointProvenance {
    /// Its path.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// A split by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitProvenance {
    /// The split's name.
    pub name: String,
    /// Its samples.
    pub samples: usize,
    /// SHA-256 of the sorted ids, one a line.
    pub ids_sha256: String,
}

/// One start of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The command line.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub time: u64,
    /// The commit that the program was built from, empty if it was built outside a repository.
    pub commit: String,
    /// The version of robustseg.
    pub robustseg: String,
    /// The version of candle.
    pub candle: String,
    /// Target, for example `x86_64-linux`.
    pub platform: String,
    /// The device that computed.
    pub device: String,
    /// Threads that computed on the CPU.
    pub threads: usize,
}

impl Provenance {
    /// The provenance of what `spec` does with these splits of its `data`, with no invocation yet.
    pub fn of<'a>(spec: &Spec, data: &Data, splits: impl IntoIterator<Item = &'a Dataset>) -> Self {
        Self {
            fingerprint: fingerprint(spec, &data.manifest_sha256),
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
            checkpoint: None,
            invocations: Vec::new(),
        }
    }

    /// The same for the evaluation of `checkpoint`: another fingerprint for another one.
    #[must_use]
    pub fn with_checkpoint(mut self, checkpoint: CheckpointProvenance) -> Self {
        self.fingerprint = sha256(format!("{} {}", self.fingerprint, checkpoint.sha256).as_bytes());
        self.checkpoint = Some(checkpoint);
        self
    }

    /// What `path` holds; nothing if there is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes)
                    .map_err(|error| anyhow!(plain(error)))
                    .with_context(|| format!("reading {}: is it from another version?", path.display()))?,
            )),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

impl Invocation {
    /// This process, computing on `device`.
    pub fn now(device: &str) -> Self {
        // The date of a result, from which nothing is computed.
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
        }
    }
}

impl CheckpointProvenance {
    /// The checkpoint at `path` as it is now.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { path: path.display().to_string(), sha256: sha256(&bytes) })
    }
}

impl SplitProvenance {
    fn of(dataset: &Dataset) -> Self {
        Self { name: dataset.split().into(), samples: dataset.len(), ids_sha256: dataset.ids_sha256() }
    }
}

fn fingerprint(spec: &Spec, manifest_sha256: &str) -> String {
    let mut spec = spec.clone();
    spec.device = crate::device::DeviceChoice::Auto;
    spec.data.root = None;
    spec.data.cache = None;
    spec.data.manifest = manifest_sha256.into();
    sha256(serde_json::to_string(&spec).expect("a spec is plain data").as_bytes())
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16");
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
