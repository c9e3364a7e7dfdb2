//! `robustseg compare`: several runs in the figures and tables of the paper.

use std::path::PathBuf;

use clap::Args;

use crate::pages;

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
        let (comparison, page) = pages::compare_in(&self.runs, &self.out)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&comparison.records())?);
        } else {
            println!("{}\nreport: {}", comparison.plain(), page.display());
        }
        Ok(())
    }
}
