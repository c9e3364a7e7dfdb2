//! The folder from which an interrupted evaluation continues.
//!
//! `images.log` holds a line that says which evaluation it is, and a line for each batch of images. Each line begins with a
//! hash over itself and the lines before it, and is on the disk before the next batch begins. The images that are kept to
//! look at are sealed files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use robustseg_attacks::Budget;
use robustseg_datasets::{Dataset, content_sha256};
use robustseg_files::sealed::{self, Sealed, seal};
use robustseg_files::{create_folders, sha256, sync_folder, write_atomically};
use robustseg_models::PspNet;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::evaluation::evenly_spaced;
use crate::example::Numbered;
use crate::tally::Seen;
use crate::{Error, EvaluationConfig, Example, Result};

/// The file of the lines.
const LOG: &str = "images.log";

/// What the names of the examples' files begin and end with; the image's number is between.
const EXAMPLE: (&str, &str) = ("example-", ".safetensors");

/// The metadata key of an example.
const METADATA: &str = "example";

/// The form of the folder; another one is for every change of what it holds.
const VERSION: u32 = 1;

/// What an evaluation has seen so far, kept in a folder.
pub struct Journal {
    folder: PathBuf,
    log: File,
    chain: Chain,
    /// The batches of earlier processes, until they are taken.
    entries: Vec<Entry>,
    /// Numbers of the images whose examples are in the folder.
    kept: BTreeSet<usize>,
    seconds: f64,
}

/// Which evaluation it is. The weights are among it, so that no other checkpoint continues it.
#[derive(PartialEq, Serialize, Deserialize)]
struct Head {
    version: u32,
    identity: String,
    weights_sha256: String,
    samples_sha256: String,
    /// As text, whose numbers are compared as they were written.
    settings: String,
}

/// What was seen of a batch.
#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) images: Vec<Seen>,
    /// What each curve's attack cost.
    pub(crate) budgets: Vec<Budget>,
    /// The numbers of the images that are examples now, the worst first.
    examples: Vec<usize>,
    seconds: f64,
}

/// The same, to be written.
#[derive(Serialize)]
struct EntryRef<'a> {
    images: &'a [Seen],
    budgets: &'a [Budget],
    examples: Vec<usize>,
    seconds: f64,
}

/// All of an example but its pixels. Numbers are stored by their bits, so that none is rounded.
#[derive(Serialize, Deserialize)]
struct ExampleHead {
    id: String,
    pixel_accuracy: u64,
    landscape: Vec<(u64, u32)>,
}

/// The hash over all lines so far.
#[derive(Clone, Default)]
struct Chain(String);

impl Chain {
    /// The line that says `text`, without its end.
    fn line(&mut self, text: &str) -> String {
        let hash = sha256(format!("{}{text}", self.0));
        hash[..16].clone_into(&mut self.0);
        format!("{} {text}", self.0)
    }

    /// What `line` says, if its hash is right.
    fn text<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let (hash, text) = line.split_once(' ')?;
        self.line(text);
        (self.0 == hash).then_some(text)
    }
}

impl Journal {
    /// Opens the journal in `folder` of the evaluation of `network` on `dataset` by `config`, or begins it. `identity` stands for
    /// all else that the numbers follow from, for example a hash of the data.
    ///
    /// A last line that a crash tore is dropped.
    ///
    /// # Errors
    /// [`Error::OtherEvaluation`] if the folder holds another evaluation, [`Error::Resume`] if a file is damaged. The folder is
    /// then as it was.
    pub fn open(
        folder: &Path,
        identity: &str,
        network: &PspNet,
        dataset: &Dataset,
        config: &EvaluationConfig,
    ) -> Result<Self> {
        let head = Head::new(identity, network, dataset, config)?;
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
        // Of a batch whose line was not written.
        for number in examples_in(folder)?.difference(&journal.kept) {
            let path = folder.join(example_name(*number));
            fs::remove_file(&path).map_err(|source| file_error("deleting", &path, source))?;
        }
        if whole == 0 {
            let head = serde_json::to_string(&head).map_err(|error| journal.unwritable(error.into()))?;
            journal.write(&head)?;
            sync_folder(folder).map_err(|source| file_error("syncing", folder, source))?;
        }
        Ok(journal)
    }

    /// Whether there is a journal in `folder`, whole or not.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(LOG).exists()
    }

    /// Deletes the journal in `folder`, if there is one, and the folder if it is empty then.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join(LOG);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(|source| file_error("deleting", &path, source))?,
        }
        for number in examples_in(folder)? {
            let path = folder.join(example_name(number));
            fs::remove_file(&path).map_err(|source| file_error("deleting", &path, source))?;
        }
        // Other files may be in it, or it may not be there.
        let _ = fs::remove_dir(folder);
        match folder.parent() {
            Some(parent) if parent.is_dir() => {
                sync_folder(parent).map_err(|source| file_error("syncing", parent, source))
            }
            _ => Ok(()),
        }
    }

    /// Images that were seen before this process began.
    pub fn images(&self) -> usize {
        self.entries.iter().map(|entry| entry.images.len()).sum()
    }

    /// Seconds that all batches in the journal took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The batches that were seen before this process began, and the examples among them, the worst first.
    pub(crate) fn take(&mut self) -> Result<(Vec<Entry>, Vec<Numbered>)> {
        let entries = std::mem::take(&mut self.entries);
        let numbers = entries.last().map_or(&[][..], |entry| &entry.examples);
        let examples = numbers.iter().map(|&number| Ok((number, self.example(number)?)));
        let examples = examples.collect::<Result<_>>()?;
        Ok((entries, examples))
    }

    /// Keeps what was seen of a batch; `examples` are all that are kept now, the worst first.
    pub(crate) fn append(
        &mut self,
        images: &[Seen],
        budgets: &[Budget],
        examples: &[Numbered],
        seconds: f64,
    ) -> Result<()> {
        let numbers: Vec<usize> = examples.iter().map(|(number, _)| *number).collect();
        for (number, example) in examples {
            if !self.kept.contains(number) {
                self.keep(*number, example)?;
            }
        }
        let entry = EntryRef { images, budgets, examples: numbers.clone(), seconds };
        let text = serde_json::to_string(&entry).map_err(|error| self.unwritable(error.into()))?;
        self.write(&text)?;
        self.seconds += seconds;
        // Only now does no line count on them.
        for number in self.kept.iter().filter(|number| !numbers.contains(number)) {
            let path = self.folder.join(example_name(*number));
            fs::remove_file(&path).map_err(|source| file_error("deleting", &path, source))?;
        }
        self.kept = numbers.into_iter().collect();
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let line = self.chain.line(text) + "\n";
        let written = self.log.write_all(line.as_bytes()).and_then(|()| self.log.sync_data());
        written.map_err(|source| self.unwritable(source))
    }

    /// Drops what is beyond the first `length` bytes of the log.
    fn cut(&mut self, length: u64) -> Result<()> {
        use std::io::Seek;
        let cut = self.log.set_len(length).and_then(|()| self.log.seek(std::io::SeekFrom::Start(length)));
        cut.map(drop).map_err(|source| self.unwritable(source))
    }

    fn unwritable(&self, source: std::io::Error) -> Error {
        file_error("writing", &self.folder.join(LOG), source)
    }

    fn keep(&mut self, number: usize, example: &Example) -> Result<()> {
        let path = self.folder.join(example_name(number));
        let Example { width, height, .. } = *example;
        let head = ExampleHead {
            id: example.id.clone(),
            pixel_accuracy: example.pixel_accuracy.to_bits(),
            landscape: example.landscape.iter().map(|(at, loss)| (at.to_bits(), loss.to_bits())).collect(),
        };
        let picture = |data| TensorView::new(Dtype::U8, vec![height, width, 3], data);
        let map = |data| TensorView::new(Dtype::U8, vec![height, width], data);
        let tensors = || {
            Ok(vec![
                ("image".to_owned(), picture(&example.image)?),
                ("label".to_owned(), map(&example.label)?),
                ("prediction".to_owned(), map(&example.prediction)?),
                ("adversarial".to_owned(), picture(&example.adversarial)?),
                ("adversarial_prediction".to_owned(), map(&example.adversarial_prediction)?),
            ])
        };
        let wrap = |error: safetensors::SafeTensorError| candle_core::Error::wrap(error);
        let head = serde_json::to_string(&head).map_err(|error| self.unwritable(error.into()))?;
        let bytes =
            tensors().and_then(|tensors| seal(tensors, &BTreeMap::from([(METADATA, head)]))).map_err(wrap)?;
        write_atomically(&path, &bytes).map_err(|source| file_error("writing", &path, source))?;
        self.kept.insert(number);
        Ok(())
    }

    fn example(&self, number: usize) -> Result<Example> {
        let path = self.folder.join(example_name(number));
        let refuse = |reason: String| damaged(&path, &format!("it {reason}"));
        let bytes = sealed::read(&path).map_err(refuse)?;
        let Sealed { tensors, metadata, sealed } = Sealed::parse(&bytes).map_err(refuse)?;
        let head = metadata.get(METADATA).filter(|_| sealed);
        let head = head.and_then(|head| serde_json::from_str::<ExampleHead>(head).ok());
        let head = head.ok_or_else(|| refuse("is no example of an evaluation".into()))?;
        let tensor = |name: &str| {
            let found = tensors.tensor(name).map_err(|_| refuse(format!("lacks {name}")))?;
            Ok::<_, Error>((found.data().to_vec(), found.shape().to_vec()))
        };
        let (label, shape) = tensor("label")?;
        let [height, width] = shape[..] else { return Err(refuse("has a label of another shape".into())) };
        let bytes = |name: &str| Ok::<_, Error>(tensor(name)?.0);
        Ok(Example {
            id: head.id,
            width,
            height,
            image: bytes("image")?,
            label,
            prediction: bytes("prediction")?,
            adversarial: bytes("adversarial")?,
            adversarial_prediction: bytes("adversarial_prediction")?,
            pixel_accuracy: f64::from_bits(head.pixel_accuracy),
            landscape: (head.landscape.into_iter())
                .map(|(at, loss)| (f64::from_bits(at), f32::from_bits(loss)))
                .collect(),
        })
    }
}

impl Head {
    fn new(identity: &str, network: &PspNet, dataset: &Dataset, config: &EvaluationConfig) -> Result<Self> {
        let stamps = dataset.stamps();
        let samples = evenly_spaced(dataset.len(), config.limit).into_iter().map(|index| &stamps[index]);
        let settings = serde_json::to_string(config).map_err(candle_core::Error::wrap)?;
        Ok(Self {
            version: VERSION,
            settings,
            identity: identity.to_owned(),
            weights_sha256: network.weights_sha256()?,
            samples_sha256: content_sha256(samples),
        })
    }

    /// In what `other` differs, for a person.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let differs = [
            (self.version != other.version, "robustseg version"),
            (self.weights_sha256 != other.weights_sha256, "weights"),
            (self.settings != other.settings, "evaluation settings"),
            (self.samples_sha256 != other.samples_sha256, "samples"),
            (self.identity != other.identity, "data or precision"),
        ];
        differs.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// The length of the whole lines of `text`, the chain behind them, and the batches that they hold.
fn parse(text: &[u8], expected: &Head, path: &Path) -> Result<(usize, Chain, Vec<Entry>)> {
    let (mut whole, mut chain, mut entries) = (0, Chain::default(), Vec::new());
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        // A process that was killed leaves half a line, a power cut may leave zeros.
        let torn = !line.ends_with(b"\n") || line.contains(&0);
        if torn && index + 1 == lines.len() {
            break;
        }
        let text = std::str::from_utf8(line).ok().and_then(|line| chain.text(line.trim_end()));
        let text = text.ok_or_else(|| damaged(path, &format!("its line {} is damaged", index + 1)))?;
        let unreadable = |error| damaged(path, &format!("its line {} is unreadable ({error})", index + 1));
        if index == 0 {
            let head: Head = serde_json::from_str(text).map_err(unreadable)?;
            if let Some(what) = head.difference(expected) {
                let (path, what) = (path.to_owned(), what.to_owned());
                return Err(Error::OtherEvaluation { path, what });
            }
        } else {
            entries.push(serde_json::from_str(text).map_err(unreadable)?);
        }
        whole += line.len();
    }
    Ok((whole, chain, entries))
}

/// The numbers of the examples in `folder`; none if there is no folder.
fn examples_in(folder: &Path) -> Result<BTreeSet<usize>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|source| file_error("listing", folder, source))?,
    };
    let number = |name: String| name.strip_prefix(EXAMPLE.0)?.strip_suffix(EXAMPLE.1)?.parse().ok();
    Ok(entries.flatten().filter_map(|entry| number(entry.file_name().into_string().ok()?)).collect())
}

fn example_name(number: usize) -> String {
    format!("{}{number:05}{}", EXAMPLE.0, EXAMPLE.1)
}

fn damaged(path: &Path, reason: &str) -> Error {
    let advice = "delete its folder to evaluate from the first image";
    Error::Resume { path: path.to_owned(), reason: format!("{reason}; {advice}") }
}

fn file_error(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::{
        CurveConfig, Evaluated, Event, Observer, PgdCurve, Progress, SeaCurve, evaluate, evaluate_with,
        fixture,
    };

    /// Stops an evaluation when it has seen so many images.
    struct Stopper<'a> {
        stop: &'a AtomicBool,
        at: u64,
    }

    impl Observer for Stopper<'_> {
        fn event(&mut self, _event: &Event) -> std::io::Result<()> {
            Ok(())
        }

        fn progress(&mut self, progress: Progress) {
            self.stop.store(progress.done >= self.at, Ordering::Relaxed);
        }
    }

    fn config() -> EvaluationConfig {
        let pgd = PgdCurve { alpha: 0.01, steps: 2, restarts: 2, epsilons: vec![0.0, 0.03] };
        let curves =
            vec![CurveConfig::Pgd(pgd), CurveConfig::Sea(SeaCurve { steps: 4, epsilons: vec![0.02, 0.03] })];
        EvaluationConfig { curves, examples: 2, seed: 3, ..EvaluationConfig::default() }
    }

    fn open(folder: &Path, config: &EvaluationConfig) -> Result<Journal> {
        Journal::open(folder, "data", &fixture::network(1)?, &fixture::dataset()?, config)
    }

    /// Evaluates until `images` are seen.
    fn until(folder: &Path, config: &EvaluationConfig, images: u64) -> Result<Evaluated> {
        let (network, dataset, stop) = (fixture::network(1)?, fixture::dataset()?, AtomicBool::new(false));
        let mut stopper = Stopper { stop: &stop, at: images };
        evaluate_with(&mut open(folder, config)?, &network, &dataset, config, &stop, &mut stopper)
    }

    fn assert_equal(found: &Evaluated, expected: &Evaluated) {
        assert_eq!(found.evaluation, expected.evaluation);
        assert_eq!(found.images, expected.images);
        assert!(found.examples == expected.examples, "other examples");
        assert_eq!(found.example_attack, expected.example_attack);
    }

    #[test]
    fn an_evaluation_in_parts_is_one_in_a_piece() -> Result<()> {
        let (network, dataset) = (fixture::network(1)?, fixture::dataset()?);
        for batch_size in [1, 4] {
            let config = EvaluationConfig { batch_size, ..config() };
            let whole = evaluate(&network, &dataset, &config, &AtomicBool::new(false), &mut ())?;
            let folder = tempfile::tempdir().expect("a temporary folder");
            let folder = folder.path().join("journal");
            let mut images = 1;
            let found = loop {
                match until(&folder, &config, images) {
                    Err(Error::Interrupted) => images = open(&folder, &config)?.images() as u64 + 1,
                    done => break done?,
                }
            };
            assert_equal(&found, &whole);
            // And of nothing but what is kept.
            assert_equal(&until(&folder, &config, u64::MAX)?, &whole);
            assert!(examples_in(&folder)?.len() == 2, "examples that lost their place are deleted");
            Journal::remove(&folder)?;
            assert!(!folder.exists());
        }
        Ok(())
    }

    #[test]
    fn a_torn_line_is_dropped_and_a_damaged_one_named() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (folder, config) = (folder.path(), config());
        assert!(matches!(until(folder, &config, 2), Err(Error::Interrupted)));
        let log = folder.join(LOG);
        let whole = fs::read(&log).expect("the log");
        let write = |bytes: &[u8]| fs::write(&log, bytes).expect("the log");
        for torn in [&whole[..whole.len() - 1], &[&whole[..whole.len() - 5], &[0; 5]].concat()] {
            write(torn);
            assert_eq!(open(folder, &config)?.images(), 1);
            // Opening drops it.
            write(&whole);
        }
        write(&whole[..20]);
        assert_eq!(open(folder, &config)?.images(), 0);
        let refused = |bytes: &[u8], part: &str| {
            write(bytes);
            let error = open(folder, &config).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(LOG) && error.contains(part), "{error}");
            assert!(fs::read(&log).expect("the log") == bytes, "it is left as it was");
        };
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for line in 0..lines.len() {
            let mut damaged = whole.clone();
            damaged[lines[..line].concat().len() + lines[line].len() / 2] ^= 1;
            refused(&damaged, &format!("line {} is damaged", line + 1));
        }
        // A line that is missing, or stands twice.
        refused(&[lines[0], lines[2]].concat(), "line 2 is damaged");
        refused(&[lines[0], lines[1], lines[1]].concat(), "line 3 is damaged");
        Ok(())
    }

    #[test]
    fn records_of_another_evaluation_are_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (folder, config) = (folder.path(), config());
        assert!(matches!(until(folder, &config, 1), Err(Error::Interrupted)));
        let (network, dataset) = (fixture::network(1)?, fixture::dataset()?);
        let refused = |identity: &str, network: &PspNet, config: &EvaluationConfig, expected: &str| {
            match Journal::open(folder, identity, network, &dataset, config) {
                Err(Error::OtherEvaluation { what, .. }) => assert_eq!(what, expected),
                opened => panic!("{:?}", opened.map(|journal| journal.images())),
            }
        };
        refused("other data", &network, &config, "data or precision");
        refused("data", &fixture::network(2)?, &config, "weights");
        let settings = EvaluationConfig { seed: 4, ..config.clone() };
        refused("data", &network, &settings, "evaluation settings");
        assert_eq!(open(folder, &config)?.images(), 1);

        // An example whose file is damaged is named when it is wanted.
        let example = folder.join(example_name(0));
        let mut bytes = fs::read(&example).expect("an example");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&example, bytes).expect("an example");
        let error = until(folder, &config, u64::MAX).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(&example_name(0)) && error.contains("damaged"), "{error}");
        Ok(())
    }
}
