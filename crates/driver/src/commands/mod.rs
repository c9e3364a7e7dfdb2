//! The commands, one per file: the arguments and the work of `robustseg NAME`.

pub(crate) mod attack;
pub(crate) mod bench;
mod bench_evaluation;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod evaluate;
pub(crate) mod import;
mod median;
pub(crate) mod predict;
pub(crate) mod run;
pub(crate) mod schema;
mod seeds;
pub(crate) mod sweep;
mod watched;

use std::path::PathBuf;

use clap::Args;
use tracing::warn;

use crate::spec::{Layered, SpecError};

/// A spec and the values that replace parts of it.
#[derive(Args)]
pub(crate) struct SpecArguments {
    /// The experiment's spec, a YAML file.
    spec: PathBuf,
    /// Replaces a value of the spec, for example --set training.epochs=3; may be repeated.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

impl SpecArguments {
    pub(crate) fn read(&self) -> Result<Layered, SpecError> {
        Layered::read(&self.spec, &self.overrides)
    }
}

/// Logs `warnings` and returns them.
fn told(warnings: Vec<String>) -> Vec<String> {
    for warning in &warnings {
        warn!("{warning}");
    }
    warnings
}
