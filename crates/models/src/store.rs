//! The hub's cache folder, laid out as its other clients do.

use crate::hub::{Failure, Fetched, HubFile};
use crate::pretrained::{copy_hashing, is_hex, sha256_of, wrong_hash};
use crate::write_atomically;
use hf_hub::Cache;
use std::io::{self, Read};
use std::path::Path;

/// The file of a repository that holds its weights.
pub(crate) const FILE: &str = "model.safetensors";

/// A repository's place in the cache: `blobs/HASH`, `snapshots/COMMIT/FILE` linking to it, `refs/main` naming the
/// commit.
pub(crate) struct Store<'a> {
    cache: Cache,
    file: &'a HubFile,
}

impl<'a> Store<'a> {
    pub(crate) fn new(cache: &Path, file: &'a HubFile) -> Self {
        Self { cache: Cache::new(cache.to_path_buf()), file }
    }

    fn fetched(&self, commit: &str, sha256: &str) -> Fetched {
        let path = self.cache.repo(self.file.repo()).pointer_path(commit).join(FILE);
        let pinned =
            HubFile { revision: Some(commit.into()), sha256: Some(sha256.into()), ..self.file.clone() };
        Fetched { path, pinned: pinned.to_string() }
    }

    /// The file as the cache has it: `None` if it has none, or why it cannot be used.
    pub(crate) fn cached(&self) -> Option<Result<Fetched, String>> {
        let commit = if let Some(revision) = &self.file.revision {
            revision.clone()
        } else {
            let refs = self.cache.path().join(self.file.repo().folder_name()).join("refs");
            std::fs::read_to_string(refs.join("main")).ok()?.trim().to_owned()
        };
        let path = self.fetched(&commit, "").path;
        // A blob is named by its hash, which tells a damaged one.
        let blob = path.canonicalize().ok()?;
        let name = blob.file_name()?.to_string_lossy().into_owned();
        let expected = self.file.sha256.clone().or(is_hex(&name, 64).then_some(name));
        Some(match sha256_of(&path) {
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            Ok(found) => match expected {
                Some(expected) if expected != found => {
                    Err(format!("{}: {}", path.display(), wrong_hash(&expected, &found)))
                }
                _ => Ok(self.fetched(&commit, &found)),
            },
        })
    }

    /// Puts what `body` gives into the cache, once all of it has come and has the `expected` hash.
    pub(crate) fn put(
        &self,
        body: impl Read,
        commit: &str,
        expected: Option<&str>,
    ) -> Result<Fetched, Failure> {
        let repository = self.cache.repo(self.file.repo());
        let unwritable = |path: &Path, error: io::Error| {
            Failure::lasting(format!("the cache cannot be written: {}: {error}", path.display()))
        };
        let mut bytes = Vec::new();
        let found = copy_hashing(body, &mut bytes)
            .map_err(|error| Failure::transient(format!("the download broke off: {error}")))?;
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Failure::lasting(wrong_hash(expected, &found)));
        }
        let blob = repository.blob_path(&found);
        std::fs::create_dir_all(repository.blob_path(""))
            .and_then(|()| write_atomically(&blob, &bytes))
            .map_err(|error| unwritable(&blob, error))?;
        let fetched = self.fetched(commit, &found);
        point(&fetched.path, &blob).map_err(|error| unwritable(&fetched.path, error))?;
        if self.file.revision.is_none() {
            repository.create_ref(commit).map_err(|error| unwritable(&blob, error))?;
        }
        Ok(fetched)
    }
}

/// Makes `pointer`, `snapshots/COMMIT/FILE`, stand for `blob`.
fn point(pointer: &Path, blob: &Path) -> io::Result<()> {
    let folder = pointer.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    if pointer.symlink_metadata().is_ok() {
        std::fs::remove_file(pointer)?;
    }
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), pointer)
    }
    #[cfg(not(unix))]
    std::fs::copy(blob, pointer).map(|_| ())
}
