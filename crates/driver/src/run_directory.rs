//! The run directory: one experiment's results, written by one process at a time.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use robustseg_models::{create_folders, remove_temporary, sync_folder, write_atomically};
use serde::Serialize;

use crate::exit::Usage;
use crate::provenance::Provenance;

const LOCK: &str = ".lock";

/// Where files are written, from the directory itself on.
const FOLDERS: [&str; 5] = ["", "checkpoints", "figures", "figures/examples", "tables"];

/// A run directory that this process alone writes.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    // Held as long as the value lives.
    _lock: File,
}

/// Where the run with `name` goes unless another place is given.
pub fn default_path(name: &str) -> PathBuf {
    Path::new("runs").join(name)
}

impl RunDirectory {
    /// Makes or opens the directory at `path` for the run with `fingerprint`, and locks it.
    ///
    /// # Errors
    /// If another process works in it, and with [`Usage`] if it holds something else, another spec's run, or without
    /// `resume` an unfinished run of this one.
    pub fn open(path: &Path, fingerprint: &str, resume: bool) -> anyhow::Result<Self> {
        let directory = Self::lock(path)?;
        let shown = path.display();
        if let Some(found) = Provenance::read(&directory.file("provenance.json"))? {
            if found.fingerprint != fingerprint {
                let advice = "take another --out, or delete it";
                return refuse(format!(
                    "{shown} holds the run of another spec (see its spec.yaml); {advice}"
                ));
            }
            if !resume && !directory.file("evaluation.json").is_file() {
                let advice = "go on with --resume, take another --out, or delete it";
                return refuse(format!("{shown} holds an unfinished run of this spec; {advice}"));
            }
        } else if directory.holds_anything()? {
            return refuse(format!("{shown} is not empty and holds no run; take another --out"));
        }
        Ok(directory)
    }

    /// Makes or opens the directory at `path`, whatever it holds, and locks it. What a killed process left half-written
    /// is deleted.
    ///
    /// # Errors
    /// If another process works in it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        create_folders(path).with_context(|| format!("making the directory {}", path.display()))?;
        let file = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&file);
        let lock = lock.with_context(|| format!("opening the lock {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {
                for folder in FOLDERS.map(|folder| path.join(folder)) {
                    remove_temporary(&folder).with_context(|| format!("tidying {}", folder.display()))?;
                }
                Ok(Self { path: path.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => bail!(
                "directory {} is in use: another robustseg writes it; wait for that, or take another --out",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", file.display()))
            }
        }
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file `name` in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of the checkpoints, made if need be.
    pub fn checkpoints(&self) -> anyhow::Result<PathBuf> {
        let folder = self.file("checkpoints");
        create_folders(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    /// Deletes what an earlier invocation left as results and saved states, for a run from the start. What is resumed from
    /// goes first, and for good: killed in between, a run must not go on from a state whose checkpoints or events are gone.
    pub fn clear(&self) -> anyhow::Result<()> {
        let remove = |name: &str| {
            let path = self.file(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("deleting {}", path.display()))
                }
                _ => Ok(()),
            }
        };
        remove("checkpoints/resume.former.safetensors")?;
        remove("checkpoints/resume.safetensors")?;
        let checkpoints = self.file("checkpoints");
        match sync_folder(&checkpoints) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("syncing {}", checkpoints.display()));
            }
            _ => {}
        }
        for name in ["last", "best", "unflagged", "failed", "failed_batch"] {
            remove(&format!("checkpoints/{name}.safetensors"))?;
        }
        let results =
            ["events.jsonl", "evaluation.json", "images.jsonl", "timing.json", "report.html", "run.log"];
        results.into_iter().try_for_each(remove)
    }

    /// Writes `bytes` to the file `name`, whole or not at all; folders on the way are made.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.file(name);
        if let Some(folder) = path.parent() {
            create_folders(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        write_atomically(&path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Writes `value` as indented JSON to the file `name`.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.write(name, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }

    fn holds_anything(&self) -> anyhow::Result<bool> {
        let entries = fs::read_dir(&self.path).with_context(|| format!("listing {}", self.path.display()))?;
        let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        // The lock is hidden, and other files that are do not matter.
        Ok(names.any(|name| !name.as_encoded_bytes().starts_with(b".")))
    }
}

fn refuse<T>(message: String) -> anyhow::Result<T> {
    Err(Usage(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn started(path: &Path, fingerprint: &str) -> RunDirectory {
        let directory = RunDirectory::open(path, fingerprint, false).unwrap();
        let provenance = Provenance { fingerprint: fingerprint.into(), ..Provenance::default() };
        directory.write_json("provenance.json", &provenance).unwrap();
        directory
    }

    fn refused(path: &Path, fingerprint: &str, resume: bool) -> (Exit, String) {
        let error = RunDirectory::open(path, fingerprint, resume).unwrap_err();
        (Exit::of(&error), error.to_string())
    }

    #[test]
    fn two_runs_never_write_one_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/run");
        let first = started(&path, "x");
        let (exit, message) = refused(&path, "x", true);
        assert_eq!(exit, Exit::Other);
        assert!(message.contains("in use"), "{message}");
        drop(first);
        assert!(RunDirectory::open(&path, "x", true).is_ok());
    }

    #[test]
    fn unfinished_and_other_runs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = started(&path, "x");
        drop(first);
        let (exit, message) = refused(&path, "x", false);
        assert!(exit == Exit::Usage && message.contains("--resume"), "{message}");
        let (exit, message) = refused(&path, "y", true);
        assert!(exit == Exit::Usage && message.contains("another spec"), "{message}");
        let again = RunDirectory::open(&path, "x", true).unwrap();
        again.write("evaluation.json", b"{}").unwrap();
        drop(again);
        let again = RunDirectory::open(&path, "x", false).unwrap();
        again.clear().unwrap();
        assert!(!again.file("evaluation.json").exists());
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let (exit, message) = refused(folder.path(), "x", true);
        assert!(exit == Exit::Usage && message.contains("holds no run"), "{message}");
    }
}
