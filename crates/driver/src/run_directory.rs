//! The run directory: one experiment's results, written by one process at a time.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use robustseg_evaluation::Journal;
use robustseg_files::{create_folders, remove_temporary, sync_folder, write_atomically};
use serde::Serialize;

use crate::exit::Usage;
use crate::inputs::{Inputs, check_folder, holds_anything, is_folder};
use crate::lock::Lock;
use crate::provenance::Provenance;
use crate::record::{self, Record, Written, names_below};
use crate::records::tensorboard::EVENT_FILE;

/// The command whose results include checkpoints, which training writes directly.
const RUN: &str = "run";

/// The folder of an interrupted evaluation's observations.
pub(crate) const UNFINISHED: &str = "unfinished_evaluation";

/// The folders that hold files, relative to the directory itself.
const FOLDERS: [&str; 7] =
    ["", "checkpoints", "figures", "figures/examples", "tables", "tensorboard", UNFINISHED];

/// How a run uses its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Starts with the first step, in a directory without a run.
    Fresh,
    /// Resumes from the saved state of the same run, if there is one.
    Resume,
    /// Starts with the first step, and replaces the existing run.
    Overwrite,
}

/// A run directory that only this process writes.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// The record of all files written here, except those that training writes directly.
    record: Option<Mutex<Record>>,
    // Held while the value lives.
    _lock: Lock,
    /// What this command made before its first file, outermost first.
    made: Vec<PathBuf>,
}

/// The default directory of the run `name`.
pub fn default_path(name: &str) -> PathBuf {
    Path::new("runs").join(name)
}

impl RunDirectory {
    /// Creates or opens the directory at `path` for the run with `fingerprint`, and locks it.
    /// Changes nothing in it.
    ///
    /// # Errors
    /// If another process uses it. [`Usage`] if it holds something other than a run, or a run that
    /// `start` does not allow.
    pub fn open(path: &Path, fingerprint: &str, start: Start) -> anyhow::Result<Self> {
        Self::checked(path, RUN, || check(path, fingerprint, start))
    }

    /// Creates or opens the directory at `path` for the evaluation with `fingerprint`, which reads
    /// `inputs`, and locks it.
    ///
    /// # Errors
    /// If another process uses it. [`Usage`] if it holds something other than this evaluation, an
    /// input, or, without `resume`, an unfinished evaluation.
    pub(crate) fn open_evaluation(
        path: &Path,
        fingerprint: &str,
        inputs: &Inputs,
        resume: bool,
    ) -> anyhow::Result<Self> {
        Self::checked(path, "evaluate", || check_evaluation(path, fingerprint, inputs, resume))
    }

    /// Creates or opens the directory at `path` for the results of `command`, which reads `inputs`,
    /// and locks it.
    ///
    /// # Errors
    /// If another process uses it. [`Usage`] as in [`check_folder`].
    pub(crate) fn for_results(path: &Path, command: &str, inputs: &Inputs) -> anyhow::Result<Self> {
        Self::checked(path, command, || check_folder(path, command, "", inputs))
    }

    fn checked(path: &Path, command: &str, check: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Self> {
        // Checked before it is locked: a foreign folder does not even get a lock.
        check()?;
        let mut directory = Self::lock(path)?;
        check()?;
        directory.made.extend(missing(&record::path(path)));
        directory.record = Some(Mutex::new(Record::begin(path, command)?));
        Ok(directory)
    }

    /// Creates or opens the directory at `path`, whatever it holds, and locks it. Deletes
    /// incomplete files of killed processes.
    ///
    /// # Errors
    /// If another process uses it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let made = missing(path);
        create_folders(path).with_context(|| format!("making the directory {}", path.display()))?;
        let lock = Lock::take(path)?;
        for folder in FOLDERS.map(|folder| path.join(folder)) {
            remove_temporary(&folder).with_context(|| format!("tidying {}", folder.display()))?;
        }
        Ok(Self { path: path.to_owned(), record: None, _lock: lock, made })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of its file `name`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of checkpoints, created if necessary.
    pub fn checkpoints(&self) -> anyhow::Result<PathBuf> {
        let folder = self.file("checkpoints");
        create_folders(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    /// Deletes the results and saved states of an earlier invocation, for a new run. The resume
    /// files go first, and durably: if the process is killed in between, no run may resume from a
    /// state whose checkpoints or events are gone.
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
        Journal::remove(&self.file(UNFINISHED))?;
        let averages = ["average", "unflagged_average"];
        for name in ["last", "best", "unflagged", "failed", "failed_batch"].into_iter().chain(averages) {
            remove(&format!("checkpoints/{name}.safetensors"))?;
        }
        for name in kept_checkpoints(&checkpoints)? {
            remove(&format!("checkpoints/{name}"))?;
        }
        let results = [
            "events.jsonl",
            EVENT_FILE,
            "evaluation.json",
            "images.jsonl",
            "timing.json",
            "report.html",
            "run.log",
        ];
        results.into_iter().try_for_each(remove)?;
        // Deletes figures, tables and examples, because the new run may have others. Keeps the
        // files that mark the folder as a run.
        let written = Written::read(&self.path)?.unwrap_or_default().unchanged(&self.path)?;
        let kept = ["provenance.json", "spec.yaml"];
        written.iter().filter(|name| !kept.contains(&name.as_str())).try_for_each(|name| remove(name))
    }

    /// Writes `bytes` to the file `name` atomically. Creates missing folders.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.file(name);
        if let Some(record) = &self.record {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            if record.command() != RUN && !record.holds(name) && path.symlink_metadata().is_ok() {
                return refuse(format!("{} is there, and this command did not write it", path.display()));
            }
            record.note(name, bytes).with_context(|| format!("noting {}", path.display()))?;
        }
        if let Some(folder) = path.parent() {
            create_folders(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        write_atomically(&path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Deletes the files that an earlier invocation wrote and this one did not.
    pub(crate) fn remove_others(&self) -> anyhow::Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let record = record.lock().unwrap_or_else(PoisonError::into_inner);
        for path in record.others().map(|name| self.file(name)).filter(|path| path.exists()) {
            fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes `value` as indented JSON to the file `name`.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.write(name, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }
}

impl Drop for RunDirectory {
    /// A command that was refused before its first file leaves the directory as it was.
    fn drop(&mut self) {
        if names_below(&self.path, "").is_ok_and(|names| names.is_empty()) {
            Lock::discard(&self.path);
            for path in self.made.iter().rev() {
                // A folder with other files stays.
                let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            }
        }
    }
}

/// `path` and the folders around it that do not exist, outermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let around = path.ancestors().take_while(|path| !path.as_os_str().is_empty());
    let mut missing: Vec<PathBuf> =
        around.take_while(|path| path.symlink_metadata().is_err()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// The names of the checkpoints `best_STEP.safetensors` in `folder`.
fn kept_checkpoints(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("listing {}", folder.display()))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_kept = |name: &String| {
        let step = name.strip_prefix("best_").and_then(|name| name.strip_suffix(".safetensors"));
        step.is_some_and(|step| step.parse::<u64>().is_ok())
    };
    Ok(names.filter(is_kept).collect())
}

/// Refuses a directory in which `start` is not possible for the run with `fingerprint`.
fn check(path: &Path, fingerprint: &str, start: Start) -> anyhow::Result<()> {
    let shown = path.display();
    if !is_folder(path, "--out")? {
        return Ok(());
    }
    let Some(found) = Provenance::read(&path.join("provenance.json"))? else {
        if holds_anything(path)? {
            return refuse(format!("{shown} is not empty and holds no run; take another --out"));
        }
        return Ok(());
    };
    if found.checkpoint.is_some() {
        return refuse(format!(
            "{shown} holds the evaluation of a checkpoint and no run; take another --out"
        ));
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
            let (what, resume) = if same { ("this", "continue it with --resume, ") } else { ("another", "") };
            refuse(format!(
                "{shown} holds {state} run of {what} spec; {resume}take another --out, or start over with \
                 --overwrite, which deletes that run"
            ))
        }
    }
}

/// Refuses a directory that holds anything but the evaluation with `fingerprint`, or one of
/// `inputs`.
fn check_evaluation(path: &Path, fingerprint: &str, inputs: &Inputs, resume: bool) -> anyhow::Result<()> {
    let shown = path.display();
    check_folder(path, "evaluate", UNFINISHED, inputs)?;
    match Provenance::read(&path.join("provenance.json"))? {
        Some(found) if found.checkpoint.is_none() => {
            refuse(format!("{shown} holds a run, which an evaluation does not replace; take another --out"))
        }
        Some(found) if found.fingerprint != fingerprint => refuse(format!(
            "{shown} holds the evaluation of another checkpoint or spec (see its provenance.json and spec.yaml); take \
             another --out"
        )),
        Some(_) if !resume && Journal::is_in(&path.join(UNFINISHED)) => refuse(format!(
            "{shown} holds this evaluation, unfinished; continue it with --resume, take another --out, or delete \
             {shown}/{UNFINISHED} to start over"
        )),
        _ => Ok(()),
    }
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
    fn a_directory_without_a_file_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/run");
        drop(RunDirectory::open(&path, "x", Start::Fresh).unwrap());
        assert!(!folder.path().join("a").exists());
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(".notes"), "mine").unwrap();
        drop(RunDirectory::open(&path, "x", Start::Fresh).unwrap());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        drop(started(&path, "x"));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 4, "a lock, a record, a provenance and notes");
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
        let checkpoint =
            Some(CheckpointProvenance { path: "c".into(), sha256: "s".into(), training: None, import: None });
        over.write_json("provenance.json", &Provenance { checkpoint, ..Provenance::default() }).unwrap();
        drop(over);
        for start in [Start::Fresh, Start::Resume, Start::Overwrite] {
            let (exit, message) = refused(&path, "y", start);
            assert!(exit == Exit::Usage && message.contains("evaluation of a checkpoint"), "{message}");
        }
    }

    #[test]
    fn an_evaluation_replaces_itself_and_no_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation");
        let open = |fingerprint, resume| {
            RunDirectory::open_evaluation(&path, fingerprint, &Inputs::default(), resume)
        };
        let first = open("x", false).unwrap();
        let checkpoint =
            Some(CheckpointProvenance { path: "c".into(), sha256: "s".into(), training: None, import: None });
        let provenance = Provenance { fingerprint: "x".into(), checkpoint, ..Provenance::default() };
        first.write_json("provenance.json", &provenance).unwrap();
        drop(first);
        assert!(open("x", false).is_ok());
        fs::create_dir(path.join(UNFINISHED)).unwrap();
        fs::write(path.join(UNFINISHED).join("images.log"), b"half").unwrap();
        let error = open("x", false).unwrap_err();
        assert!(Exit::of(&error) == Exit::Usage && error.to_string().contains("--resume"), "{error}");
        assert!(open("x", true).is_ok());
        let error = open("y", true).unwrap_err();
        assert!(
            Exit::of(&error) == Exit::Usage && error.to_string().contains("another checkpoint"),
            "{error}"
        );
        let run = folder.path().join("run");
        drop(started(&run, "x"));
        let error = RunDirectory::open_evaluation(&run, "x", &Inputs::default(), true).unwrap_err();
        assert!(Exit::of(&error) == Exit::Usage && error.to_string().contains("`run`"), "{error}");
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
