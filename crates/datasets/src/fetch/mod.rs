//! Downloads freely available datasets into the folder that a manifest expects.
//!
//! An archive is downloaded next to its destination as `NAME.part`. An interrupted download
//! resumes. The archive gets its name once its checksum is right, and is unpacked into a separate
//! folder. The content then moves into place in one step. Neither an incomplete archive nor an
//! incomplete dataset ever has its final name.

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

/// The outcome for an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The folder with the content.
    pub folder: PathBuf,
    /// The archive, which is no longer needed. `None` if the folder already existed and nothing was
    /// done.
    pub archive: Option<PathBuf>,
}

impl Fetch {
    /// Downloads the archives of a dataset into the folder `root` and unpacks them there. Existing
    /// folders are left unchanged. An archive that the user put into `root` is verified and used. A
    /// generated dataset has no archives.
    ///
    /// # Errors
    /// [`Error::NotFree`] if the user has to obtain the dataset. [`Error::Fetch`] with the fault
    /// and what to do; the part downloaded so far stays, and the next call resumes from there.
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

/// Locks `root` for this process while the returned value lives.
fn lock(root: &Path) -> Result<Option<File>, String> {
    std::fs::create_dir_all(root).map_err(|error| local(root, &error))?;
    // On Unix, a folder can be opened and locked. Elsewhere, two processes are not kept apart.
    let Ok(folder) = File::open(root) else { return Ok(None) };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(format!("another process fetches into {}", root.display())),
        _ => Ok(Some(folder)),
    }
}
