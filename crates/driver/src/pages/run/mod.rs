//! The report of one run.

mod charts;
mod classes;
mod epsilons;
mod examples;
mod machine;
mod message;
mod monitor;
mod page;
mod provenance;
mod robustness;
mod scores;
mod tables;
mod time;
mod warnings;

use std::path::PathBuf;

use super::confusions::Confusions;
use super::summary::RunSummary;
use super::{figures, tables as files};
use crate::records::{read_events, scalars};
use crate::run_directory::RunDirectory;

/// Renders `figures/*` (each as `.svg` and `.pdf`), `tables/*` (each as `.csv`, `.md` and `.tex`) and `report.html` of a
/// run directory from its other files, `tables/scalars.csv` among them, and returns the report's path. It may be repeated at any
/// time.
///
/// # Errors
/// Those of [`RunSummary::read`], and if a file cannot be written.
pub fn write_report(directory: &RunDirectory) -> anyhow::Result<PathBuf> {
    let run = RunSummary::read(directory.path())?;
    let confusions = Confusions::read(directory.path(), &run.evaluation)?;
    let charts = charts::all(&run);
    for (name, chart) in &charts {
        figures::write(directory, name, chart)?;
    }
    let tables = tables::all(&run, confusions.as_ref());
    for (name, table) in &tables {
        files::write(directory, name, table)?;
    }
    let scalars = scalars::csv(&read_events(&run.path.join("events.jsonl"))?);
    if !run.history.losses.is_empty() {
        directory.write("tables/scalars.csv", scalars.as_bytes())?;
    }
    let page = page::render(&run, &charts, &tables, confusions.as_ref())?;
    directory.write("report.html", page.as_bytes())?;
    Ok(directory.file("report.html"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::fixture;

    #[test]
    fn a_finished_run_has_its_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fixture::run(&path, "newton + co", "fast_newton: {}", 0.7, 2.0);
        let report = write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
        let html = std::fs::read_to_string(report).unwrap();
        for part in [
            "<h1>newton + co</h1>",
            "Mean IoU 0.700 clean, ",
            " under the worst of 2 attacks at epsilon 0.04 (10.2/255)</p>",
            "Fast Newton",
            "0.7000",
            "&lt;road&gt;",
            "BIM, alpha 0.004, 10 steps",
            "data:image/png;base64,",
            "weight_decay",
            "0123abcd",
            "Training loss",
            "Epsilon of the adversarial examples",
            "<dt>Images</dt><dd>24 of 100 images of split val of scenes</dd>",
            "<dt>Weights</dt><dd>last, pspnet trained with Fast Newton, seed 0, step 200</dd>",
            "Confusion matrix under BIM",
            "val: 100 samples, 24 of them evaluated",
            "24 of 100 images of split val, weights: last.</p>",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        for stranger in ["<road>", "<script", "src=\"http", "href=\"h", "NaN", "inf%"] {
            assert!(!html.contains(stranger), "{stranger} is in the report");
        }
        for figure in ["robustness", "landscape", "loss", "validation", "epsilons"] {
            let svg = std::fs::read_to_string(path.join(format!("figures/{figure}.svg"))).unwrap();
            let title = svg.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
            assert!(svg.starts_with("<svg") && html.contains(&format!("<title>{title}</title>")), "{figure}");
            let pdf = std::fs::read(path.join(format!("figures/{figure}.pdf"))).unwrap();
            assert!(pdf.starts_with(b"%PDF-1.4"), "{figure}");
        }
        let svg = std::fs::read_to_string(path.join("figures/robustness.svg")).unwrap();
        assert!(svg.contains("worst case over all") && svg.contains("stroke-width=\"4\""), "{svg}");
        let csv = std::fs::read_to_string(path.join("tables/classes.csv")).unwrap();
        assert!(
            csv.starts_with("class,clean,FGSM at 0.04,BIM at 0.04,worst case over all at 0.04,precision,"),
            "{csv}"
        );
        assert!(path.join("tables/scores.tex").is_file() && !path.join("tables/passes.csv").exists());
        let before = html;
        write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("report.html")).unwrap(), before);
    }

    #[test]
    fn an_evaluation_alone_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::lock(folder.path()).unwrap();
        directory.write_json("evaluation.json", &fixture::evaluation(0.5, 1.0)).unwrap();
        let report = write_report(&directory).unwrap();
        let html = std::fs::read_to_string(report).unwrap();
        assert!(html.contains("&lt;road&gt;") && html.contains("Mean IoU 0.500 clean"));
        assert!(!html.contains("Resolved spec"));
    }

    #[test]
    fn a_selection_on_the_test_data_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::lock(folder.path()).unwrap();
        let mut evaluation = fixture::evaluation(0.5, 1.0);
        evaluation.scope.weights = Some("best".into());
        let mut page = |selected| {
            evaluation.scope.selected_on_evaluated_split = selected;
            directory.write_json("evaluation.json", &evaluation).unwrap();
            std::fs::read_to_string(write_report(&directory).unwrap()).unwrap()
        };
        assert!(page(true).contains("selection on the test data"));
        let html = page(false);
        assert!(!html.contains("selection on the test data") && html.contains("<dd>best, "));
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let error = RunSummary::read(&path).unwrap_err().to_string();
        assert!(error.contains("run: has no evaluation.json"), "{error}");
        for (file, content, part) in [
            ("evaluation.json", "{\"clean\": 1}", "is not what robustseg writes"),
            ("timing.json", "{", "is not what robustseg writes"),
            ("provenance.json", "[]", "is not what robustseg writes"),
            ("figures/examples/gallery.json", "3", "is not what robustseg writes"),
            ("spec.yaml", "nam: x", "name"),
            ("events.jsonl", "{\"kind\": \"checkpoint\", \"step\": 1, \"epoch\": 0}\n{\"ki\n", "line 2"),
            ("events.jsonl", "{\"kind\": \"validation\", \"step\": 1, \"epoch\": 0}\n", "`miou` is missing"),
        ] {
            fixture::run(&path, "x", "basic", 0.7, 2.0);
            std::fs::write(path.join(file), content).unwrap();
            let error = RunSummary::read(&path).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(part), "{file}: {error}");
            std::fs::remove_file(path.join(file)).unwrap();
        }
    }
}
