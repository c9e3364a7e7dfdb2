//! One run of a comparison.

use std::path::PathBuf;

use robustseg_evaluation::Evaluation;

use crate::draw::table::Cell;
use crate::pages::gallery::Gallery;
use crate::pages::names::paper_name;
use crate::pages::summary::RunSummary;
use crate::records::RunTiming;
use crate::spec::Spec;

/// A run among others.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// Its unique name.
    pub name: String,
    /// The name without the beginning that all runs share: the one in figures and tables.
    pub label: String,
    /// Its directory.
    pub path: PathBuf,
    /// Its spec. `None` if it is unknown.
    pub spec: Option<Spec>,
    /// Its examples, if it has some.
    pub gallery: Option<Gallery>,
    /// The method that trained the weights, by its name in specs. `None` if it is unknown.
    pub method: Option<String>,
    /// The scores.
    pub evaluation: Evaluation,
    /// The times of its training. `None` if they were not recorded.
    pub timing: Option<RunTiming>,
    /// The additional time of an average step over one of the basic run, in percent. `None` without
    /// a basic run on the same device with the same network and batches.
    pub additional_time_percent: Option<f64>,
}

impl ComparedRun {
    /// The first cells of every row: name and method.
    pub(super) fn head(&self) -> [Cell; 2] {
        [Cell::text(self.label.clone()), Cell::text(self.method.as_deref().map_or("unknown", paper_name))]
    }
}

/// The additional time of a step of `run` over one of the basic run among `runs`, in percent.
pub(super) fn additional_time(run: &RunSummary, runs: &[RunSummary]) -> Option<f64> {
    let (spec, timing) = (run.spec.as_ref()?, run.timing.as_ref()?);
    let alike = |other: &RunTiming, with: &Spec| {
        other.device == timing.device
            && with.model == spec.model
            && with.training.batch_size == spec.training.batch_size
            && with.training.augmentation == spec.training.augmentation
    };
    let basic = runs.iter().filter(|run| run.method() == Some("basic"));
    let mut basic = basic.filter_map(|run| run.timing.as_ref().zip(run.spec.as_ref()));
    let (basic, _) = basic.find(|(timing, spec)| alike(timing, spec))?;
    let ratio = timing.step_seconds / basic.step_seconds;
    ratio.is_finite().then_some(100.0 * (ratio - 1.0))
}
