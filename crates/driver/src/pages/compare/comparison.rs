//! Several runs that were evaluated alike.

use std::collections::HashMap;

use robustseg_evaluation::{Evaluation, Scope};
use serde::{Deserialize, Serialize};

use super::run::{ComparedRun, additional_time};
use super::{copies, labels, protocol};
use crate::exit::Usage;
use crate::pages::summary::RunSummary;

/// Runs that were evaluated alike.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The runs, in the order in which they were given.
    pub runs: Vec<ComparedRun>,
    /// The beginning that the names of all runs share.
    pub beginning: String,
    /// The names of the data's classes.
    pub class_names: Vec<String>,
}

/// A run in `comparison.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRecord {
    /// Its unique name. Figures and tables leave out the beginning that all names share.
    pub name: String,
    /// The training method, or `unknown`.
    pub method: String,
    /// The seed, if it is known.
    pub seed: Option<u64>,
    /// The scores.
    pub evaluation: Evaluation,
    /// Seconds per training step, if they were recorded.
    pub step_seconds: Option<f64>,
    /// Seconds of all training steps, if they were recorded.
    pub training_seconds: Option<f64>,
    /// The additional time of a step over one of the basic run, in percent.
    pub additional_time_percent: Option<f64>,
}

impl Comparison {
    /// The comparison of `runs`.
    ///
    /// # Errors
    /// If `runs` is empty, if they were not evaluated alike, or if two of them are one result (see
    /// [`compare`](super::compare)).
    pub fn new(runs: &[RunSummary]) -> anyhow::Result<Self> {
        let Some(first) = runs.first() else {
            return Err(Usage("there is no run to compare".into()).into());
        };
        runs.iter().try_for_each(|run| protocol::require_same(first, run))?;
        copies::refuse(runs)?;
        let names = labels::unique(runs);
        let beginning = labels::common_beginning(&names).to_owned();
        let compared = runs.iter().zip(names).map(|(run, name)| {
            let label = name[beginning.len()..].to_owned();
            ComparedRun {
                name,
                label,
                path: run.path.clone(),
                spec: run.spec.clone(),
                gallery: run.gallery.clone(),
                method: run.method().map(str::to_owned),
                additional_time_percent: additional_time(run, runs),
                evaluation: run.evaluation.clone(),
                timing: run.timing.clone(),
            }
        });
        let classes = runs.iter().map(|run| run.evaluation.clean.iou.len()).max().unwrap_or(0);
        let class_names = (0..classes).map(|label| first.class_name(label)).collect();
        Ok(Self { runs: compared.collect(), beginning, class_names })
    }

    /// The images that all runs were evaluated on, and the weights if all runs have the same.
    pub(super) fn scope(&self) -> Scope {
        let scopes = || self.runs.iter().map(|run| &run.evaluation.scope);
        let Some(first) = scopes().find(|scope| scope.images.is_some()) else { return Scope::default() };
        let alike = scopes().all(|scope| scope.weights == first.weights);
        Scope { weights: first.weights.clone().filter(|_| alike), ..first.clone() }
    }

    /// A file name for each curve: its attack's name, with a number from the second curve of one
    /// attack on.
    pub(super) fn curve_names(&self) -> Vec<String> {
        let curves = self.runs.first().map_or(&[][..], |run| &run.evaluation.curves);
        let clean = |name: &str| -> String {
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let name = |attack: String| {
            let count = seen.entry(attack.clone()).or_default();
            *count += 1;
            if *count == 1 { attack } else { format!("{attack}_{count}") }
        };
        curves.iter().map(|curve| clean(&curve.attack)).map(name).collect()
    }

    /// The content of `comparison.json`.
    pub fn records(&self) -> Vec<ComparisonRecord> {
        let record = |run: &ComparedRun| ComparisonRecord {
            name: run.name.clone(),
            method: run.method.clone().unwrap_or_else(|| "unknown".into()),
            seed: run.evaluation.training.as_ref().map(|training| training.seed),
            evaluation: run.evaluation.clone(),
            step_seconds: run.timing.as_ref().map(|timing| timing.step_seconds),
            training_seconds: run.timing.as_ref().map(|timing| timing.training_seconds),
            additional_time_percent: run.additional_time_percent,
        };
        self.runs.iter().map(record).collect()
    }
}
