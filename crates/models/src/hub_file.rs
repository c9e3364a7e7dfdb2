//! Weights on the Hugging Face hub, and in its cache.

use hf_hub::{Repo, RepoType};
use std::fmt::Display;
use std::path::PathBuf;

/// The file of a repository that holds its weights.
pub(crate) const FILE: &str = "model.safetensors";

/// The weights of a repository, pinned or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `organisation/name`.
    pub repository: String,
    /// A commit's 40 hexadecimal digits; `None` for `main` at the time of the first download.
    pub revision: Option<String>,
    /// The file's SHA-256, 64 hexadecimal digits; `None` for the one that the hub announces.
    pub sha256: Option<String>,
}

/// A file in the cache whose hash has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// The source, pinned: `organisation/name@revision#sha256=hash`.
    pub pinned: String,
}

impl HubFile {
    pub(crate) fn repo(&self) -> Repo {
        let revision = self.revision.clone().unwrap_or("main".into());
        Repo::with_revision(self.repository.clone(), RepoType::Model, revision)
    }
}

/// The source in the form that `pretrained::resolve` reads.
impl Display for HubFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part =
            |mark, part: &Option<String>| part.as_ref().map_or(String::new(), |part| format!("{mark}{part}"));
        write!(f, "{}{}{}", self.repository, part("@", &self.revision), part("#sha256=", &self.sha256))
    }
}
