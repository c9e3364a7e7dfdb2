//! The data of a spec: its manifest and its folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use robustseg_datasets::{DATA_FOLDER, Dataset, Manifest};

use crate::exit::BadData;
use crate::spec::Spec;

/// The data of a spec before it is opened.
pub struct Data {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's file.
    pub manifest_sha256: String,
    /// The data's folder.
    pub root: PathBuf,
    /// The folder of packs to read decoded samples from.
    pub cache: Option<PathBuf>,
}

impl Data {
    /// Finds the data of `spec`: in its `data.root`, else in the manifest's folder under
    /// `$ROBUSTSEG_DATA`.
    ///
    /// # Errors
    /// If the manifest cannot be used, or neither folder is known. [`Data::open`] checks that the
    /// folder exists.
    pub fn find(spec: &Spec) -> anyhow::Result<Self> {
        let path = &spec.data.manifest;
        let manifest = Manifest::load(path)?;
        let bytes = std::fs::read(path)
            .map_err(|error| BadData(format!("manifest {}: cannot be read: {error}", path.display())))?;
        let root = root(&manifest, spec.data.root.as_deref()).ok_or_else(|| {
            BadData(format!(
                "data {}: its folder is unknown, because neither data.root in the spec nor ${DATA_FOLDER} is set; to get it: {}",
                manifest.name,
                manifest.how_to_get(None)
            ))
        })?;
        Ok(Self {
            manifest,
            manifest_sha256: robustseg_files::sha256(&bytes),
            root,
            cache: spec.data.cache.clone(),
        })
    }

    /// Opens `split`. With a cache, its samples come from its pack.
    pub fn open(&self, split: &str) -> anyhow::Result<Dataset> {
        let dataset = Dataset::open(&self.manifest, &self.root, split)?;
        match &self.cache {
            Some(cache) => Ok(dataset.with_cache(cache, &self.manifest)?),
            None => Ok(dataset),
        }
    }

    /// The number of classes.
    pub fn num_classes(&self) -> usize {
        self.manifest.num_classes()
    }
}

/// The folder of a manifest's data: `given`, else the manifest's folder under `$ROBUSTSEG_DATA`.
/// `None` if neither is known. Generated data has an empty path.
pub(crate) fn root(manifest: &Manifest, given: Option<&Path>) -> Option<PathBuf> {
    if manifest.is_generated() {
        return Some(PathBuf::new());
    }
    let below = |folder: OsString| Path::new(&folder).join(&manifest.folder);
    let all = std::env::var_os(DATA_FOLDER).filter(|folder| !folder.is_empty());
    given.map(Path::to_owned).or_else(|| all.map(below))
}

/// `warnings` about `split`, each with its name.
pub(crate) fn of_split(split: &str, warnings: Vec<String>) -> Vec<String> {
    warnings.into_iter().map(|warning| format!("split {split}: {warning}")).collect()
}

/// Pairs of ids of the same image in words: `a = b, c = d`.
pub(crate) fn pairs(examples: &[(String, String)]) -> String {
    let pair = |(first, second): &(String, String)| format!("{first} = {second}");
    examples.iter().map(pair).collect::<Vec<_>>().join(", ")
}
