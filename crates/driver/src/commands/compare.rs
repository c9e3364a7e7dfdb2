//! `robustseg compare`: several runs in the figures and tables of the paper.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::inputs::Inputs;
use crate::pages;
use crate::run_directory::RunDirectory;

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg compare runs/basic runs/fgsm runs/newton --out compared";

/// Arguments of `compare`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Compare {
    /// The run directories.
    #[arg(required = true, value_name = "RUN_DIR")]
    runs: Vec<PathBuf>,
    /// Folder for compare.html, comparison.json, figures and tables.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Prints comparison.json instead of the tables.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        write(&self.runs, &self.out, self.json)
    }
}

/// Compares `runs` in the folder `out`, and prints the tables, or `comparison.json`.
pub(crate) fn write(runs: &[PathBuf], out: &Path, json: bool) -> anyhow::Result<()> {
    let directory = RunDirectory::for_results(out, "compare", &Inputs::of(runs))?;
    let comparison = pages::compare(runs, &directory)?;
    directory.remove_others()?;
    if json {
        println!("{}", serde_json::to_string_pretty(&comparison.records())?);
    } else {
        println!("{}\nreport: {}", comparison.plain(), directory.file("compare.html").display());
    }
    Ok(())
}
