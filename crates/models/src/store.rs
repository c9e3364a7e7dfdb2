//! The hub's cache folder, in the layout of its other clients.

use crate::failure::{Failure, wrong_hash};
use crate::hub_file::{FILE, Fetched, HubFile};
use hf_hub::Cache;
use robustseg_files::{Draft, Sha256, is_hexadecimal, pieces, remove_temporary, sha256_of};
use std::io::{self, Read, Write};
use std::path::Path;

/// A repository's place in the cache: `blobs/HASH`, a link to it at `snapshots/COMMIT/FILE`, and
/// the commit's name in `refs/main`.
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

    /// The file in the cache, if there is one, or why it cannot be used.
    pub(crate) fn cached(&self) -> Option<Result<Fetched, String>> {
        let commit = if let Some(revision) = &self.file.revision {
            revision.clone()
        } else {
            let refs = self.cache.path().join(self.file.repo().folder_name()).join("refs");
            std::fs::read_to_string(refs.join("main")).ok()?.trim().to_owned()
        };
        let path = self.fetched(&commit, "").path;
        // The name of a blob is its hash, which reveals damage.
        let blob = path.canonicalize().ok()?;
        let name = blob.file_name()?.to_string_lossy().into_owned();
        let expected = self.file.sha256.clone().or(is_hexadecimal(&name, 64).then_some(name));
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

    /// Puts `body` into the cache once it is complete and has the `expected` hash. Until then it is
    /// a temporary file in the cache, so that files of any size can be fetched.
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
        let blobs = repository.blob_path("");
        let mut draft = std::fs::create_dir_all(&blobs)
            .and_then(|()| remove_temporary(&blobs))
            .and_then(|()| Draft::new(&blobs))
            .map_err(|error| unwritable(&blobs, error))?;
        let mut hash = Sha256::new();
        pieces(
            body,
            |error| Failure::transient(format!("the download broke off: {error}")),
            |piece| {
                hash.update(piece);
                draft.write_all(piece).map_err(|error| unwritable(&blobs, error))
            },
        )?;
        let found = hash.hexadecimal();
        if let Some(expected) = expected
            && expected != found
        {
            return Err(Failure::lasting(wrong_hash(expected, &found)));
        }
        let blob = repository.blob_path(&found);
        draft.publish(&blob).map_err(|error| unwritable(&blob, error))?;
        let fetched = self.fetched(commit, &found);
        point(&fetched.path, &blob).map_err(|error| unwritable(&fetched.path, error))?;
        if self.file.revision.is_none() {
            repository.create_ref(commit).map_err(|error| unwritable(&blob, error))?;
        }
        Ok(fetched)
    }
}

/// Makes `pointer`, `snapshots/COMMIT/FILE`, a link to `blob`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A body of `left` bytes that looks, piece by piece, whether what it gave before is in a file
    /// of `blobs`.
    struct Body {
        blobs: PathBuf,
        given: u64,
        left: u64,
    }

    impl Read for Body {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let files = std::fs::read_dir(&self.blobs)?.map(|file| file?.metadata());
            let kept = files.map(|file| file.unwrap().len()).sum::<u64>();
            assert_eq!(kept, self.given, "what came is kept elsewhere than in the cache");
            let count = buffer.len().min(self.left as usize);
            buffer[..count].fill(7);
            (self.given, self.left) = (self.given + count as u64, self.left - count as u64);
            Ok(count)
        }
    }

    #[test]
    fn a_download_is_a_file_from_its_first_byte_on_and_what_a_killed_one_left_goes() {
        let cache = tempfile::tempdir().unwrap();
        let file = HubFile { repository: "timm/net".into(), revision: Some(COMMIT.into()), sha256: None };
        let store = Store::new(cache.path(), &file);
        let blobs = cache.path().join("models--timm--net/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(".robustseg-killed.tmp"), b"half").unwrap();
        let body = Body { blobs: blobs.clone(), given: 0, left: 1_000_000 };
        let Ok(fetched) = store.put(body, COMMIT, None) else { panic!("the cache can be written") };
        assert_eq!(std::fs::read(fetched.path).unwrap(), vec![7; 1_000_000]);
        assert_eq!(std::fs::read_dir(&blobs).unwrap().count(), 1);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named_and_not_tried_again() {
        let cache = tempfile::tempdir().unwrap();
        let file = HubFile { repository: "timm/net".into(), revision: Some(COMMIT.into()), sha256: None };
        std::fs::create_dir(cache.path().join("models--timm--net")).unwrap();
        std::fs::write(cache.path().join("models--timm--net/blobs"), b"a file").unwrap();
        let failure = Store::new(cache.path(), &file).put(&b"abc"[..], COMMIT, None).err().unwrap();
        assert!(!failure.transient && failure.reason.contains("models--timm--net/blobs"));
    }
}
