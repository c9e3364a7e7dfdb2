//! The lines of a journal: a head that identifies the evaluation, then a line per batch.

use std::path::Path;

use robustseg_attacks::Cost;
use robustseg_datasets::{Dataset, content_sha256};
use robustseg_files::sha256;
use serde::{Deserialize, Serialize};

use super::fault::damaged;
use crate::config::{EvaluationConfig, evenly_spaced};
use crate::observation::ImageObservations;
use crate::source::Subject;
use crate::{Error, Result};

/// The version of the journal. Every change of the format increases it.
const VERSION: u32 = 3;

/// The identity of an evaluation. It includes the weights, so that no other checkpoint resumes it.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    version: u32,
    identity: String,
    weights_sha256: String,
    sources_sha256: Vec<String>,
    samples_sha256: String,
    /// The settings as text. Their numbers are compared as written.
    settings: String,
}

impl Head {
    pub(super) fn new(
        identity: &str,
        Subject { network, sources }: Subject<'_>,
        dataset: &Dataset,
        config: &EvaluationConfig,
    ) -> Result<Self> {
        let stamps = dataset.stamps();
        let samples = evenly_spaced(dataset.len(), config.limit).into_iter().map(|index| &stamps[index]);
        let of_sources = sources.iter().map(|source| source.network.weights_sha256());
        let settings = serde_json::to_string(config).map_err(candle_core::Error::wrap)?;
        Ok(Self {
            version: VERSION,
            settings,
            identity: identity.to_owned(),
            weights_sha256: network.weights_sha256()?,
            sources_sha256: of_sources.collect::<robustseg_models::Result<_>>()?,
            samples_sha256: content_sha256(samples),
        })
    }

    /// How `other` differs, in words for the user.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let differs = [
            (self.version != other.version, "robustseg version"),
            (self.weights_sha256 != other.weights_sha256, "weights"),
            (self.sources_sha256 != other.sources_sha256, "weights of sources"),
            (self.settings != other.settings, "evaluation settings"),
            (self.samples_sha256 != other.samples_sha256, "samples"),
            (self.identity != other.identity, "data or precision"),
        ];
        differs.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// The observations of a batch.
#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) images: Vec<ImageObservations>,
    /// The cost of each curve's attack.
    pub(crate) costs: Vec<Cost>,
    /// The indices of images that are examples now, worst first.
    pub(super) examples: Vec<usize>,
    pub(super) seconds: f64,
}

/// The same by reference, for writing.
#[derive(Serialize)]
pub(super) struct EntryRef<'a> {
    pub(super) images: &'a [ImageObservations],
    pub(super) costs: &'a [Cost],
    pub(super) examples: Vec<usize>,
    pub(super) seconds: f64,
}

/// The hash over all lines so far.
#[derive(Clone, Default)]
pub(super) struct Chain(String);

impl Chain {
    /// The line for `text`, without a line end.
    pub(super) fn line(&mut self, text: &str) -> String {
        let hash = sha256(format!("{}{text}", self.0));
        hash[..16].clone_into(&mut self.0);
        format!("{} {text}", self.0)
    }

    /// The text of `line`, if its hash is right.
    pub(super) fn text<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let (hash, text) = line.split_once(' ')?;
        self.line(text);
        (self.0 == hash).then_some(text)
    }
}

/// The length of the complete lines of `text`, the chain after them, and their batches.
pub(super) fn parse(text: &[u8], expected: &Head, path: &Path) -> Result<(usize, Chain, Vec<Entry>)> {
    let (mut whole, mut chain, mut entries) = (0, Chain::default(), Vec::new());
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        // A killed process leaves half a line, and a power cut may leave zeros.
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
