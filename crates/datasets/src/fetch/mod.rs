//! Datasets that may be had freely, from their archives' addresses to the folder that a manifest expects.
//!
//! An archive is downloaded beside its place as `NAME.part`, goes on after an interruption, gets its name once its
//! checksum is right, is unpacked into a folder of its own, and what it holds is moved into place in one step: neither a
//! half archive nor half a dataset ever has the name of a whole one.

mod archive;
mod download;
mod local;
mod settings;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use local::local;

pub use settings::{Fetch, FetchProgress, FetchStage};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::manifest::Manifest;

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
