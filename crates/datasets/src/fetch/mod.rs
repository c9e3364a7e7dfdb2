//! Datasets that may be had freely, from their archives' addresses to the folder that a manifest expects.
//!
//! An archive is downloaded beside its place as `NAME.part`, goes on after an interruption, gets its name once its
//! checksum is right, is unpacked into a folder of its own, and what it holds is moved into place in one step: neither a
//! half archive nor half a dataset ever has the name of a whole one.

mod archive;
mod download;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Archive, Error, Manifest, Result};

/// How to download and unpack.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// How long to wait for a connection, an answer, and each further piece of it.
    pub timeout: Duration,
    /// How often to try in a row without a byte of progress, at least once.
    pub attempts: u32,
    /// Pause behind the first failure in a row; it doubles with each further one.
    pub pause: Duration,
    /// Bytes that an archive may unpack to.
    pub max_bytes: u64,
    /// Files and folders that an archive may hold.
    pub max_entries: u64,
    /// A file of root certificates (PEM) to trust in place of Mozilla's; by default the one that `SSL_CERT_FILE` names.
    pub certificates: Option<PathBuf>,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: 6,
            pause: Duration::from_secs(1),
            max_bytes: 1 << 36,
            max_entries: 2_000_000,
            certificates: robustseg_trust::certificate_file(),
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStage {
    /// An archive comes through the network.
    Downloading,
    /// Its checksum is computed.
    Verifying,
    /// It is unpacked.
    Unpacking,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// What is being done.
    pub stage: FetchStage,
    /// Bytes of the archive that are done.
    pub done: u64,
    /// Bytes of the archive; 0 where nobody knows.
    pub total: u64,
}

/// What became of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder that its content is in.
    pub folder: PathBuf,
    /// The archive, which is not needed any more; `None` if the folder was there before, and nothing was done.
    pub archive: Option<PathBuf>,
}

impl Fetch {
    /// Downloads the archives of a dataset into the folder `root`, and unpacks them there; what is there already is left
    /// as it is. An archive that somebody put into `root` is verified and used. A generated dataset has none.
    ///
    /// # Errors
    /// [`Error::NotFree`] if the dataset is not to be had without a person; [`Error::Fetch`] with what went wrong and what
    /// to do. What has come so far stays, and the next call goes on from there.
    pub fn run(
        &self,
        manifest: &Manifest,
        root: &Path,
        progress: impl Fn(FetchProgress),
    ) -> Result<Vec<Fetched>> {
        if manifest.archives.is_empty() && !manifest.is_generated() {
            return Err(Error::NotFree {
                name: manifest.name.clone(),
                root: root.to_owned(),
                obtain: manifest.obtain.split_whitespace().collect::<Vec<_>>().join(" "),
            });
        }
        let fault = |reason| Error::Fetch { name: manifest.name.clone(), reason };
        if manifest.archives.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = lock(root).map_err(fault)?;
        manifest.archives.iter().map(|archive| self.obtain(archive, root, &progress).map_err(fault)).collect()
    }

    fn obtain(
        &self,
        archive: &Archive,
        root: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<Fetched, String> {
        let folder = root.join(&archive.folder);
        if folder.is_dir() {
            return Ok(Fetched { folder, archive: None });
        }
        let file = root.join(archive.file_name());
        if file.exists() {
            let found = download::md5_of(&file, progress)?;
            if found != archive.md5 {
                let (file, md5) = (file.display(), &archive.md5);
                return Err(format!("{file} is there, but its MD5 is {found}, not {md5}; remove it"));
            }
        } else {
            self.download(archive, &file, progress)?;
        }
        self.unpack(&file, &archive.folder, root, progress)?;
        Ok(Fetched { folder, archive: Some(file) })
    }
}

/// Makes `root` this process's alone, as long as what is given lives.
fn lock(root: &Path) -> Result<Option<File>, String> {
    std::fs::create_dir_all(root).map_err(|error| local(root, &error))?;
    // A folder can be opened and locked on Unix; elsewhere two processes are not kept apart.
    let Ok(folder) = File::open(root) else { return Ok(None) };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(format!("another process fetches into {}", root.display())),
        _ => Ok(Some(folder)),
    }
}

/// What went wrong on this machine, and what to do.
fn local(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and give the same command again, it goes on from here"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; take a folder that you may write"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}
