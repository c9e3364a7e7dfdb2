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

/// How a run takes the directory that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the first step, where no run is.
    Fresh,
    /// From the saved state of the same run, if there is one.
    Resume,
    /// From the first step, in place of the run that is there.
    Overwrite,
}

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
    /// Makes or opens the directory at `path` for the run with `fingerprint`, and locks it. Nothing in it changes.
    ///
    /// # Errors
    /// If another process works in it, and with [`Usage`] if it holds something other than a run, or a run that `start`
    /// does not allow.
    pub fn open(path: &Path, fingerprint: &str, start: Start) -> anyhow::Result<Self> {
        // Looked at before it is locked: a folder that is no run gets no lock either.
        check(path, fingerprint, start)?;
        let directory = Self::lock(path)?;
        check(path, fingerprint, start)?;
        Ok(directory)
    }

    /// Makes or opens the directory at `path` for the evaluation with `fingerprint`, and locks it.
    ///
    /// # Errors
    /// If another process works in it, and with [`Usage`] if it holds something other than this evaluation.
    pub fn open_evaluation(path: &Path, fingerprint: &str) -> anyhow::Result<Self> {
        check_evaluation(path, fingerprint)?;
        let directory = Self::lock(path)?;
        check_evaluation(path, fingerprint)?;
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
}

/// Refuses a directory in which the run with `fingerprint` must not be `start`ed.
fn check(path: &Path, fingerprint: &str, start: Start) -> anyhow::Result<()> {
    let shown = path.display();
    let Some(found) = Provenance::read(&path.join("provenance.json"))? else {
        if holds_anything(path)? {
            return refuse(format!("{shown} is not empty and holds no run; take another --out"));
        }
        return Ok(());
    };
    if found.checkpoint.is_some() {
        return refuse(format!("{shown} holds the evaluation of a checkpoint and no run; take another --out"));
    }
    let same = found.fingerprint == fingerprint;
    match start {
        Start::Overwrite => Ok(()),
        Start::Resume if same => Ok(()),
        Start::Resume => refuse(format!(
            "{shown} holds the run of another spec (see its spec.yaml), which cannot be resumed with this one; take \
             another --out, or start over with --overwrite, which deletes that run"
        )),
        Start::Fresh => {
            let state = if path.join("evaluation.json").is_file() { "a finished" } else { "an unfinished" };
            let (what, resume) = match same {
                true => ("this", "continue it with --resume, "),
                false => ("another", ""),
            };
            refuse(format!(
                "{shown} holds {state} run of {what} spec; {resume}take another --out, or start over with \
                 --overwrite, which deletes that run"
            ))
        }
    }
}

/// Refuses a directory that holds something other than the evaluation with `fingerprint`.
fn check_evaluation(path: &Path, fingerprint: &str) -> anyhow::Result<()> {
    let shown = path.display();
    match Provenance::read(&path.join("provenance.json"))? {
        None if holds_anything(path)? => {
            refuse(format!("{shown} is not empty and holds no evaluation; take another --out"))
        }
        None => Ok(()),
        Some(found) if found.checkpoint.is_none() => {
            refuse(format!("{shown} holds a run, which an evaluation does not replace; take another --out"))
        }
        Some(found) if found.fingerprint != fingerprint => refuse(format!(
            "{shown} holds the evaluation of another checkpoint or spec (see its provenance.json and spec.yaml); take \
             another --out"
        )),
        Some(_) => Ok(()),
    }
}

/// Whether there is anything but hidden files in the folder at `path`.
fn holds_anything(path: &Path) -> anyhow::Result<bool> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return refuse(format!("{} is a file; --out takes a folder", path.display()));
        }
        entries => entries.with_context(|| format!("listing {}", path.display()))?,
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    // The lock is hidden, and other files that are do not matter.
    Ok(names.any(|name| !name.as_encoded_bytes().starts_with(b".")))
}

fn refuse<T>(message: String) -> anyhow::Result<T> {
    Err(Usage(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::provenance::CheckpointProvenance;

    fn started(path: &Path, fingerprint: &str) -> RunDirectory {
        let directory = RunDirectory::open(path, fingerprint, Start::Fresh).unwrap();
        let provenance = Provenance { fingerprint: fingerprint.into(), ..Provenance::default() };
        directory.write_json("provenance.json", &provenance).unwrap();
        directory
    }

    fn refused(path: &Path, fingerprint: &str, start: Start) -> (Exit, String) {
        let error = RunDirectory::open(path, fingerprint, start).unwrap_err();
        (Exit::of(&error), error.to_string())
    }

    #[test]
    fn two_runs_never_write_one_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/run");
        let first = started(&path, "x");
        for start in [Start::Resume, Start::Overwrite] {
            let (exit, message) = refused(&path, "x", start);
            assert_eq!(exit, Exit::Other);
            assert!(message.contains("in use"), "{message}");
        }
        drop(first);
        assert!(RunDirectory::open(&path, "x", Start::Resume).is_ok());
    }

    #[test]
    fn unfinished_finished_and_other_runs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = started(&path, "x");
        for state in ["unfinished", "a finished"] {
            let (exit, message) = refused(&path, "x", Start::Fresh);
            assert!(exit == Exit::Usage && message.contains(state), "{message}");
            for way in ["--resume", "--out", "--overwrite"] {
                assert!(message.contains(way), "{message}");
            }
            let (exit, message) = refused(&path, "y", Start::Fresh);
            assert!(exit == Exit::Usage && message.contains("another spec"), "{message}");
            assert!(!message.contains("--resume"), "{message}");
            let (exit, message) = refused(&path, "y", Start::Resume);
            assert!(exit == Exit::Usage && message.contains("another spec"), "{message}");
            first.write("evaluation.json", b"{}").unwrap();
        }
    }

    #[test]
    fn a_run_is_overwritten_whatever_its_spec_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        drop(RunDirectory::open(&path, "x", Start::Overwrite).unwrap());
        let run = started(&path, "x");
        run.write("evaluation.json", b"{}").unwrap();
        drop(run);
        let over = RunDirectory::open(&path, "y", Start::Overwrite).unwrap();
        assert!(over.file("evaluation.json").exists(), "opening changes nothing");
        over.clear().unwrap();
        assert!(!over.file("evaluation.json").exists());
        let checkpoint = Some(CheckpointProvenance { path: "c".into(), sha256: "s".into() });
        over.write_json("provenance.json", &Provenance { checkpoint, ..Provenance::default() }).unwrap();
        drop(over);
        for start in [Start::Fresh, Start::Resume, Start::Overwrite] {
            let (exit, message) = refused(&path, "y", start);
            assert!(exit == Exit::Usage && message.contains("evaluation of a checkpoint"), "{message}");
        }
        assert!(RunDirectory::open_evaluation(&path, "").is_ok());
        assert!(RunDirectory::open_evaluation(&path, "z").is_err());
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("thesis.tex");
        fs::write(&file, "x").unwrap();
        for start in [Start::Fresh, Start::Resume, Start::Overwrite] {
            let (exit, message) = refused(folder.path(), "x", start);
            assert!(exit == Exit::Usage && message.contains("holds no run"), "{message}");
            let (exit, message) = refused(&file, "x", start);
            assert!(exit == Exit::Usage && message.contains("is a file"), "{message}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "not even a lock");
    }
}
