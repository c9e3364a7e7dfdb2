//! What an evaluation leaves: `evaluation.json`, figures, examples and report in a directory, a table on standard
//! output.

use std::path::PathBuf;

use robustseg_datasets::Class;
use robustseg_training::{Curve, Evaluated, Evaluation};

use crate::report::{Gallery, write_report};
use crate::run_directory::RunDirectory;

/// Writes `evaluation.json` and the examples, whose labels are those of `classes`, and makes the report of all that
/// the directory holds; gives the report's path.
pub(crate) fn write(
    directory: &RunDirectory,
    evaluated: &Evaluated,
    classes: &[Class],
) -> anyhow::Result<PathBuf> {
    directory.write_json("evaluation.json", &evaluated.evaluation)?;
    Gallery::write(directory, classes, &evaluated.examples)?;
    write_report(directory)
}

/// Prints mean IoU and pixel accuracy, clean and along the curves.
pub(crate) fn print(evaluation: &Evaluation) {
    let Evaluation { clean, curves } = evaluation;
    println!("{:<10} {:>8} {:>9} {:>15}", "attack", "epsilon", "mean IoU", "pixel accuracy");
    println!("{:<10} {:>8} {:>9.4} {:>15.4}", "none", "-", clean.miou, clean.pixel_accuracy);
    for Curve { attack, points, .. } in curves {
        for point in points {
            let scores = &point.scores;
            println!(
                "{attack:<10} {:>8} {:>9.4} {:>15.4}",
                point.epsilon, scores.miou, scores.pixel_accuracy
            );
        }
    }
}
