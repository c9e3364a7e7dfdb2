//! A run as the files of its directory describe it.

use std::path::{Path, PathBuf};

use robustseg_evaluation::Evaluation;

use super::gallery::Gallery;
use crate::exit::BadData;
use crate::provenance::Provenance;
use crate::records::{History, RunTiming, read_events, read_json};
use crate::spec::Spec;

/// The files of a run directory. Only `evaluation.json` must exist: the evaluation of a checkpoint
/// leaves few others.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// The directory.
    pub path: PathBuf,
    /// `evaluation.json`.
    pub evaluation: Evaluation,
    /// `spec.yaml`.
    pub spec: Option<Spec>,
    /// `timing.json`.
    pub timing: Option<RunTiming>,
    /// `provenance.json`.
    pub provenance: Option<Provenance>,
    /// `events.jsonl`.
    pub history: History,
    /// The examples in `figures/examples`.
    pub gallery: Option<Gallery>,
}

impl RunSummary {
    /// Reads the run directory at `path`.
    ///
    /// # Errors
    /// If there is no `evaluation.json`, or a file is broken, which is then named.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let evaluation = read_json(&path.join("evaluation.json"))?.ok_or_else(|| {
            let advice = "is its run finished? robustseg run --resume finishes it";
            BadData(format!("{}: has no evaluation.json; {advice}", path.display()))
        })?;
        let spec = path.join("spec.yaml");
        Ok(Self {
            path: path.to_owned(),
            evaluation,
            spec: spec.is_file().then(|| Spec::read(&spec, &[])).transpose()?,
            timing: read_json(&path.join("timing.json"))?,
            provenance: read_json(&path.join("provenance.json"))?,
            history: History::of(read_events(&path.join("events.jsonl"))?),
            gallery: Gallery::read(path)?,
        })
    }

    /// The run's name: from the spec, else from the directory.
    pub fn name(&self) -> String {
        let folder = || self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = self.spec.as_ref().map(|spec| spec.name.clone());
        name.or_else(folder).unwrap_or_else(|| self.path.display().to_string())
    }

    /// The method that trained the weights, by its name in specs. The checkpoint names it; the spec
    /// of an evaluation does not. `None` if it is unknown.
    pub fn method(&self) -> Option<&str> {
        let known = self.evaluation.training.as_ref().map(|training| training.method.as_str());
        let trained_here = || self.spec.as_ref().filter(|_| !self.is_of_checkpoint());
        known.or_else(|| trained_here().map(|spec| spec.training.method.name()))
    }

    /// Whether a checkpoint was evaluated and nothing trained.
    pub(super) fn is_of_checkpoint(&self) -> bool {
        self.provenance.as_ref().is_some_and(|provenance| provenance.checkpoint.is_some())
    }

    /// The name of class `label`, or `class 7` if the evaluation does not name its classes.
    pub fn class_name(&self, label: usize) -> String {
        let known = self.evaluation.scope.classes.as_ref().and_then(|names| names.get(label));
        known.map_or_else(|| format!("class {label}"), String::clone)
    }
}
