//! The folder from which an interrupted evaluation resumes.
//!
//! The first line of `images.log` identifies the evaluation. Each further line holds the
//! observations of a batch of images. A line begins with a hash over itself and all lines before
//! it, and is on the disk before the next batch starts. Examples are sealed files of their own.

mod example_file;
mod fault;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use robustseg_attacks::Cost;
use robustseg_datasets::Dataset;
use robustseg_files::{create_folders, sync_folder};

use crate::config::EvaluationConfig;
use crate::example::Numbered;
use crate::observation::ImageObservations;
use crate::source::Subject;
use crate::{Error, Result};
pub(crate) use example_file::{from_bytes as example_from_bytes, to_bytes as example_to_bytes};
use fault::file_error;
pub(crate) use log::Entry;
use log::{Chain, EntryRef, Head, parse};

/// The name of the log.
const LOG: &str = "images.log";

/// A folder with the observations of an unfinished evaluation.
pub struct Journal {
    folder: PathBuf,
    log: File,
    chain: Chain,
    /// The batches of earlier processes, until [`Journal::take`].
    entries: Vec<Entry>,
    /// Indices of the images whose examples are in the folder.
    kept: BTreeSet<usize>,
    seconds: f64,
}

impl Journal {
    /// Opens or creates the journal in `folder`, for the evaluation of `subject` on `dataset` with
    /// `config`. `identity` stands for everything else that determines the scores, for example a
    /// hash of the data.
    ///
    /// A last line that a crash left incomplete is dropped.
    ///
    /// # Errors
    /// [`Error::OtherEvaluation`] if the folder holds another evaluation, and [`Error::Damaged`] if
    /// a file is damaged. The folder is then unchanged.
    pub fn open<'a>(
        folder: &Path,
        identity: &str,
        subject: impl Into<Subject<'a>>,
        dataset: &Dataset,
        config: &EvaluationConfig,
    ) -> Result<Self> {
        let head = Head::new(identity, subject.into(), dataset, config)?;
        let path = folder.join(LOG);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|source| file_error("reading", &path, source))?,
        };
        let (whole, chain, entries) = parse(&text, &head, &path)?;
        create_folders(folder).map_err(|source| file_error("making", folder, source))?;
        let log = File::options().create(true).truncate(false).write(true).open(&path);
        let log = log.map_err(|source| file_error("opening", &path, source))?;
        let seconds = entries.iter().map(|entry| entry.seconds).sum();
        let kept: BTreeSet<usize> = entries
            .last()
            .map_or_else(BTreeSet::new, |entry: &Entry| entry.examples.iter().copied().collect());
        let mut journal = Self { folder: folder.to_owned(), log, chain, entries, kept, seconds };
        journal.cut(whole as u64)?;
        // These belong to a batch whose line was never written.
        for number in example_file::numbers_in(folder)?.difference(&journal.kept) {
            example_file::delete(folder, *number)?;
        }
        if whole == 0 {
            let head = serde_json::to_string(&head).map_err(|error| journal.unwritable(error.into()))?;
            journal.write(&head)?;
            sync_folder(folder).map_err(|source| file_error("syncing", folder, source))?;
        }
        Ok(journal)
    }

    /// Whether `folder` holds a journal, complete or not.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(LOG).exists()
    }

    /// Deletes the journal in `folder`, and the folder if it is empty afterwards. A missing journal
    /// is not an error.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join(LOG);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(|source| file_error("deleting", &path, source))?,
        }
        for number in example_file::numbers_in(folder)? {
            example_file::delete(folder, number)?;
        }
        // The folder may hold other files, or may not exist.
        let _ = fs::remove_dir(folder);
        match folder.parent() {
            Some(parent) if parent.is_dir() => {
                sync_folder(parent).map_err(|source| file_error("syncing", parent, source))
            }
            _ => Ok(()),
        }
    }

    /// The number of images that earlier processes observed.
    pub fn images(&self) -> usize {
        self.entries.iter().map(|entry| entry.images.len()).sum()
    }

    /// Seconds that all batches in the journal took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Takes the batches that earlier processes observed and the examples among them, worst first.
    pub(crate) fn take(&mut self) -> Result<(Vec<Entry>, Vec<Numbered>)> {
        let entries = std::mem::take(&mut self.entries);
        let numbers = entries.last().map_or(&[][..], |entry| &entry.examples);
        let examples = numbers.iter().map(|&number| Ok((number, example_file::read(&self.folder, number)?)));
        let examples = examples.collect::<Result<_>>()?;
        Ok((entries, examples))
    }

    /// Appends the observations of a batch. `examples` are all examples kept now, worst first.
    pub(crate) fn append(
        &mut self,
        images: &[ImageObservations],
        costs: &[Cost],
        examples: &[Numbered],
        seconds: f64,
    ) -> Result<()> {
        let numbers: Vec<usize> = examples.iter().map(|(number, _)| *number).collect();
        for (number, example) in examples {
            if !self.kept.contains(number) {
                example_file::write(&self.folder, *number, example)?;
                self.kept.insert(*number);
            }
        }
        let entry = EntryRef { images, costs, examples: numbers.clone(), seconds };
        let text = serde_json::to_string(&entry).map_err(|error| self.unwritable(error.into()))?;
        self.write(&text)?;
        self.seconds += seconds;
        // From here on no line refers to them.
        for number in self.kept.iter().filter(|number| !numbers.contains(number)) {
            example_file::delete(&self.folder, *number)?;
        }
        self.kept = numbers.into_iter().collect();
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let line = self.chain.line(text) + "\n";
        let written = self.log.write_all(line.as_bytes()).and_then(|()| self.log.sync_data());
        written.map_err(|source| self.unwritable(source))
    }

    /// Drops everything after the first `length` bytes of the log.
    fn cut(&mut self, length: u64) -> Result<()> {
        use std::io::Seek;
        let cut = self.log.set_len(length).and_then(|()| self.log.seek(std::io::SeekFrom::Start(length)));
        cut.map(drop).map_err(|source| self.unwritable(source))
    }

    fn unwritable(&self, source: std::io::Error) -> Error {
        file_error("writing", &self.folder.join(LOG), source)
    }
}
