//! Several runs in the paper's figures 3 and 4 and tables 1 and 2.

mod charts;
mod comparison;
mod copies;
mod differences;
mod labels;
mod lines;
mod links;
mod page;
mod pictures;
mod protocol;
mod ranking;
mod run;
mod seeds;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use comparison::{Comparison, ComparisonRecord};
pub use run::ComparedRun;

use super::figures;
use super::summary::RunSummary;
use crate::inputs::Inputs;
use crate::run_directory::RunDirectory;

/// Reads the run directories and writes into `out`: `compare.html`, `comparison.json`,
/// `figures/ATTACK` (figures 3 and 4 of the paper), `figures/clean_and_attacked` and
/// `figures/worst_case`, each as `.svg` and `.pdf`, and in `tables`, each as `.csv`, `.md` and
/// `.tex`, the tables of [`Comparison::tables`].
///
/// # Errors
/// If a directory holds no finished run, or the runs differ in data, split, window, attacks or
/// epsilons. [`Usage`](crate::exit::Usage) if two are one result: the same directory, a copy, the
/// same checkpoint, or the same training and seed.
pub fn compare(run_directories: &[PathBuf], out: &RunDirectory) -> anyhow::Result<Comparison> {
    let runs =
        run_directories.iter().map(|path| RunSummary::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let comparison = Comparison::new(&runs)?;
    write(&comparison, out)?;
    Ok(comparison)
}

/// [`compare`] into the folder at `out`, of which nothing else remains. Returns the comparison with
/// the path of its page.
///
/// # Errors
/// Also [`Usage`](crate::exit::Usage) if the folder is an input or holds something else.
pub(crate) fn compare_in(runs: &[PathBuf], out: &Path) -> anyhow::Result<(Comparison, PathBuf)> {
    let directory = RunDirectory::for_results(out, "compare", &Inputs::of(runs))?;
    let comparison = compare(runs, &directory)?;
    directory.remove_others()?;
    Ok((comparison, directory.file("compare.html")))
}

fn write(comparison: &Comparison, out: &RunDirectory) -> anyhow::Result<()> {
    let charts = comparison.charts();
    for (name, chart) in &charts {
        figures::write(out, name, chart)?;
    }
    for (name, table) in comparison.tables() {
        crate::pages::tables::write(out, &name, &table)?;
    }
    out.write_json("comparison.json", &comparison.records())?;
    out.write("compare.html", page::render(comparison, &charts, out.path())?.as_bytes())
}
