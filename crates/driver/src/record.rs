//! Records which files in a folder a command wrote. The same command may overwrite these files
//! later, and no others.
//!
//! The record is a hidden file in the folder. Its first line names the command. Each further line
//! holds the name of a file and the SHA-256 of its content, and is written before the file. After
//! an interruption at any moment, each file is either in the record or was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use robustseg_files::{sha256, sha256_of, write_atomically};
use serde::{Deserialize, Serialize};

/// The record's name.
const FILE: &str = ".robustseg.jsonl";

/// Files that systems create in folders. Hidden files are ignored in any case.
const COMPANIONS: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// The record of a command's files in a folder, open for more.
#[derive(Debug)]
pub(crate) struct Record {
    written: Written,
    /// The files written since the record was opened.
    noted: BTreeSet<String>,
    file: File,
}

/// The files that a command wrote into a folder.
#[derive(Debug, Default)]
pub(crate) struct Written {
    command: String,
    /// The possible contents of each file, by its path relative to the folder with `/`.
    files: BTreeMap<String, BTreeSet<String>>,
    /// Whether all lines are complete.
    whole: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    command: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    file: String,
    sha256: String,
}

/// The path of the record in `folder`.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl Written {
    /// Reads the record in `folder`, if it exists. Ignores the line that a crash left incomplete, and
    /// all lines after it.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(folder);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let Some(Head { command }) = lines.next().and_then(|line| serde_json::from_str(line).ok()) else {
            return Ok(None);
        };
        let mut written = Self { command, ..Self::default() };
        for Line { file, sha256 } in lines.by_ref().map_while(|line| serde_json::from_str(line).ok()) {
            written.files.entry(file).or_default().insert(sha256);
        }
        let noted: usize = written.files.values().map(BTreeSet::len).sum();
        written.whole = text.ends_with('\n') && text.lines().count() == noted + 1;
        Ok(Some(written))
    }

    /// The command that wrote the files.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// A file below `folder` that differs from what the command wrote. Ignores `left_out`, hidden
    /// files and files that systems create. Returns the path relative to the folder, and whether
    /// the command wrote a file of that name.
    pub(crate) fn foreign(&self, folder: &Path, left_out: &str) -> anyhow::Result<Option<(String, bool)>> {
        for name in names_below(folder, left_out)? {
            let Some(contents) = self.files.get(&name) else { return Ok(Some((name, false))) };
            if !contents.contains(&content(&folder.join(&name))?) {
                return Ok(Some((name, true)));
            }
        }
        Ok(None)
    }

    /// The files below `folder` that are as the command wrote them, by their relative paths.
    pub(crate) fn unchanged(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for (name, contents) in &self.files {
            let path = folder.join(name);
            if path.is_file() && contents.contains(&content(&path)?) {
                found.push(name.clone());
            }
        }
        Ok(found)
    }
}

impl Record {
    /// Starts the record of `command` in `folder`, or continues it.
    pub(crate) fn begin(folder: &Path, command: &str) -> anyhow::Result<Self> {
        let path = path(folder);
        let former = Written::read(folder)?.filter(|former| former.command == command);
        let written = match former {
            Some(former) if former.whole => former,
            former => {
                let written = Written { command: command.to_owned(), ..former.unwrap_or_default() };
                let mut text = serde_json::to_string(&Head { command: command.to_owned() })? + "\n";
                for (file, contents) in &written.files {
                    for sha256 in contents {
                        text += &line(file, sha256)?;
                    }
                }
                let published = write_atomically(&path, text.as_bytes());
                published.with_context(|| format!("writing {}", path.display()))?;
                written
            }
        };
        let file = File::options().append(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { written, noted: BTreeSet::new(), file })
    }

    /// Records that the file `name` is about to be written with `bytes`.
    pub(crate) fn note(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let sha256 = sha256(bytes);
        self.noted.insert(name.to_owned());
        if self.written.files.get(name).is_some_and(|contents| contents.contains(&sha256)) {
            return Ok(());
        }
        self.file.write_all(line(name, &sha256)?.as_bytes())?;
        self.written.files.entry(name.to_owned()).or_default().insert(sha256);
        Ok(())
    }

    /// The command that writes.
    pub(crate) fn command(&self) -> &str {
        &self.written.command
    }

    /// The files that an earlier invocation wrote and this one did not.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.written.files.keys().filter(|name| !self.noted.contains(*name)).map(String::as_str)
    }

    /// Whether the command wrote the file `name`.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.written.files.contains_key(name)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A line that a power cut loses makes its file count as foreign, and the file is kept.
        let _ = self.file.sync_data();
    }
}

fn line(file: &str, sha256: &str) -> serde_json::Result<String> {
    let (file, sha256) = (file.to_owned(), sha256.to_owned());
    Ok(serde_json::to_string(&Line { file, sha256 })? + "\n")
}

fn content(path: &Path) -> anyhow::Result<String> {
    sha256_of(path).with_context(|| format!("reading {}", path.display()))
}

/// The relative paths of all files below `folder`, without hidden files and the folder `left_out`.
/// A link counts as a file, wherever it leads. A missing folder counts as empty.
pub(crate) fn names_below(folder: &Path, left_out: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let path = folder.join(&prefix);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && prefix.is_empty() => return Ok(found),
            entries => entries.with_context(|| format!("listing {}", path.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("listing {}", path.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || COMPANIONS.contains(&name.to_lowercase().as_str()) {
                continue;
            }
            let name = format!("{prefix}{name}");
            let kind = entry.file_type().with_context(|| format!("looking at {}", entry.path().display()))?;
            if !kind.is_dir() {
                found.push(name);
            } else if name != left_out {
                folders.push(name + "/");
            }
        }
    }
    found.sort();
    Ok(found)
}
