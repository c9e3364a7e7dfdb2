//! Caches results of `data check` in the user's cache folder, so that a second check of unchanged
//! files is instant.

use std::path::{Path, PathBuf};

use robustseg_datasets::{CheckReport, Manifest, fingerprint};
use robustseg_files::{sha256, write_atomically};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::data::Data;

/// The last result for one manifest in one folder.
pub(crate) struct CheckCache {
    path: PathBuf,
    key: String,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// The fingerprint of the data and the program.
    key: String,
    /// SHA-256 of the report as JSON, to detect a damaged file.
    report_sha256: String,
    report: CheckReport,
}

impl CheckCache {
    /// The cache for `manifest` in `root`, whose files now have `fingerprint`. `None` if the user
    /// has no cache folder.
    pub(crate) fn new(manifest: &Manifest, root: &Path, fingerprint: &str) -> Option<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let name = sha256(format!("{} {}", manifest.name, root.display()));
        let program = (env!("CARGO_PKG_VERSION"), option_env!("ROBUSTSEG_COMMIT").unwrap_or_default());
        Some(Self {
            path: folder.join("robustseg/checks").join(format!("{}.json", &name[..32])),
            key: sha256(format!("{fingerprint} {} {}", program.0, program.1)),
        })
    }

    /// The last result, if nothing has changed since. A damaged file and a file of another version
    /// are ignored.
    pub(crate) fn read(&self) -> Option<CheckReport> {
        let bytes = std::fs::read(&self.path).ok()?;
        let entry = serde_json::from_slice::<Entry>(&bytes).map_err(|error| error.to_string());
        let whole = entry.and_then(|entry| match sha256(text(&entry.report)?) {
            found if found == entry.report_sha256 => Ok(entry),
            _ => Err("its checksum is wrong".into()),
        });
        match whole {
            Ok(entry) if entry.key == self.key => Some(entry.report),
            Ok(_) => None,
            Err(reason) => {
                warn!("the cached result {} is damaged and ignored: {reason}", self.path.display());
                None
            }
        }
    }

    /// Stores a result in which no file has a fault. Other results are not stored, because the
    /// fault may lie with the disk or the network. If the cache cannot be written, that is only
    /// logged.
    pub(crate) fn write(self, report: &CheckReport) {
        if report.splits.iter().any(|split| !split.faults.is_empty()) {
            return;
        }
        let entry = |report_text: String| Entry {
            key: self.key.clone(),
            report_sha256: sha256(&report_text),
            report: report.clone(),
        };
        let written = text(report).and_then(|report| {
            let bytes = serde_json::to_vec(&entry(report)).map_err(|error| error.to_string())?;
            let folder = self.path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)
                .and_then(|()| write_atomically(&self.path, &bytes))
                .map_err(|error| error.to_string())
        });
        if let Err(reason) = written {
            info!("the result is not cached in {}: {reason}", self.path.display());
        }
    }
}

/// The labelled pixels of each class in `split`, if a check counted them and no file has changed
/// since.
pub(crate) fn class_pixels(data: &Data, split: &str) -> Option<Vec<u64>> {
    let Data { manifest, root, .. } = data;
    let report = CheckCache::new(manifest, root, &fingerprint(manifest, root).ok()?)?.read()?;
    let counted = report.splits.into_iter().find(|counted| counted.split == split)?;
    info!("the pixels of each class are those of the last data check");
    Some(counted.class_pixels)
}

fn text(report: &CheckReport) -> Result<String, String> {
    serde_json::to_string(report).map_err(|error| error.to_string())
}
