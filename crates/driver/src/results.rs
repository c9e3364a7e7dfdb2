//! The results of an evaluation: files in a directory and a table on standard output.

use std::path::PathBuf;

use robustseg_datasets::Class;
use robustseg_evaluation::{Curve, Evaluated, Evaluation};

use crate::pages::warnings::{SELECTED, by_attack};
use crate::pages::{Gallery, shortened, write_report};
use crate::provenance::CheckpointProvenance;
use crate::run_directory::RunDirectory;

/// Writes `evaluation.json`, `images.jsonl`, the examples with labels of `classes`, and the report
/// of the whole directory. Returns the report's path.
pub(crate) fn write(
    directory: &RunDirectory,
    evaluated: &Evaluated,
    classes: &[Class],
) -> anyhow::Result<PathBuf> {
    directory.write_json("evaluation.json", &evaluated.evaluation)?;
    let lines = evaluated.images.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    directory.write("images.jsonl", (lines.join("\n") + "\n").as_bytes())?;
    Gallery::write(directory, classes, evaluated)?;
    write_report(directory)
}

/// Prints mean IoU and pixel accuracy of `checkpoint`, clean and along the curves, and all warnings;
/// `of_data` are those about the data.
pub(crate) fn print(evaluation: &Evaluation, checkpoint: &CheckpointProvenance, of_data: &[String]) {
    let Evaluation { clean, curves, worst_case, warnings, scope, .. } = evaluation;
    println!("weights: {}", checkpoint.origin_in_words());
    let name = |Curve { attack, source, .. }: &Curve| match source {
        Some(source) => format!("{attack} from {source}"),
        None => attack.clone(),
    };
    let names: Vec<String> = curves.iter().map(name).chain(["all".into()]).collect();
    let width = names.iter().map(|name| name.chars().count()).fold(10, usize::max);
    println!("{:<width$} {:>8} {:>9} {:>15}", "attack", "epsilon", "mean IoU", "pixel accuracy");
    println!("{:<width$} {:>8} {:>9.4} {:>15.4}", "none", "-", clean.miou, clean.pixel_accuracy);
    let points = curves.iter().map(|curve| &curve.points).chain([worst_case]);
    for (attack, points) in names.iter().zip(points) {
        for point in points {
            let scores = &point.scores;
            println!(
                "{attack:<width$} {:>8} {:>9.4} {:>15.4}",
                shortened(point.epsilon),
                scores.miou,
                scores.pixel_accuracy
            );
        }
    }
    println!("{scope}");
    if scope.selected_on_evaluated_split {
        println!("warning: {SELECTED}");
    }
    for warning in of_data {
        println!("warning: {warning}");
    }
    for (place, message) in by_attack(warnings) {
        println!("warning: {place}: {message}");
    }
}
