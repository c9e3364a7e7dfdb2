//! A run as its directory tells it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use robustseg_evaluation::{Curve, Evaluation};
use robustseg_words::plain;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::chart::{Chart, Line};
use super::monitor::{self, MonitorRecord};
use super::{Gallery, curve_title, epsilons, run_page, scores};
use crate::exit::BadData;
use crate::provenance::Provenance;
use crate::run_directory::RunDirectory;
use crate::run_timing::RunTiming;
use crate::spec::Spec;

/// What the files of a run directory say. `evaluation.json` alone must be there: a checkpoint that was evaluated by
/// itself leaves no more.
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
    /// Step and loss of each training step, from `events.jsonl`.
    pub losses: Vec<(u64, f64)>,
    /// Step and mean IoU of each validation, from `events.jsonl`.
    pub validations: Vec<(u64, f64)>,
    /// Step and epsilons of the adversarial examples of each training step that had any, from `events.jsonl`.
    pub epsilons: Vec<(u64, Vec<f64>)>,
    /// The monitor's readings, from `events.jsonl`.
    pub monitor: Vec<MonitorRecord>,
    /// The examples in `figures/examples`.
    pub gallery: Option<Gallery>,
}

impl RunSummary {
    /// Reads the run directory at `path`.
    ///
    /// # Errors
    /// If there is no `evaluation.json`, or a file is broken, which is then named.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let evaluation = json(&path.join("evaluation.json"))?.ok_or_else(|| {
            let advice = "is its run finished? robustseg run --resume finishes it";
            BadData(format!("{}: has no evaluation.json; {advice}", path.display()))
        })?;
        let spec = path.join("spec.yaml");
        let Events { losses, validations, epsilons } = events(&path.join("events.jsonl"))?;
        Ok(Self {
            path: path.to_owned(),
            evaluation,
            spec: spec.is_file().then(|| Spec::read(&spec, &[])).transpose()?,
            timing: json(&path.join("timing.json"))?,
            provenance: json(&path.join("provenance.json"))?,
            losses,
            epsilons,
            monitor: monitor::read(&path.join("events.jsonl"))?,
            validations,
            gallery: Gallery::read(path)?,
        })
    }

    /// The run's name: its spec's, else its directory's.
    pub fn name(&self) -> String {
        let folder = || self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = self.spec.as_ref().map(|spec| spec.name.clone());
        name.or_else(folder).unwrap_or_else(|| self.path.display().to_string())
    }

    /// The method that the weights were trained with, by its name in specs, if that is known. The checkpoint says it; the
    /// spec of an evaluation says nothing of the training.
    pub fn method(&self) -> Option<&str> {
        let known = self.evaluation.training.as_ref().map(|training| training.method.as_str());
        let trained_here = || self.spec.as_ref().filter(|_| !self.is_of_checkpoint());
        known.or_else(|| trained_here().map(|spec| spec.training.method.name()))
    }

    /// Whether nothing was trained, and a checkpoint evaluated.
    pub(super) fn is_of_checkpoint(&self) -> bool {
        self.provenance.as_ref().is_some_and(|provenance| provenance.checkpoint.is_some())
    }

    /// The name of class `label`.
    pub fn class_name(&self, label: usize) -> String {
        let classes = self.evaluation.scope.classes.as_ref();
        let kept = classes.and_then(|names| names.get(label).map(String::as_str));
        let known = kept.or_else(|| self.gallery.as_ref().and_then(|gallery| gallery.class_name(label)));
        known.map_or_else(|| format!("class {label}"), str::to_owned)
    }

    /// Its charts: the name of each file in `figures` without `.svg`, and the chart.
    pub(super) fn charts(&self) -> Vec<(&'static str, Chart)> {
        let mut charts = Vec::new();
        let line = |curve: &Curve| Line::robustness(&curve_title(&curve.attack, &curve.parameters), curve);
        let mut lines: Vec<Line> = self.evaluation.curves.iter().map(line).collect();
        let worst = Line::worst_case("worst case over all", &self.evaluation);
        lines.extend(worst.map(|line| Line { bold: true, ..line }));
        if !lines.is_empty() {
            let title = if let [line] = &lines[..] { &line.label } else { "Robustness" };
            charts.push(("robustness", Chart::robustness(title, lines.clone())));
        }
        let examples = self.gallery.iter().flat_map(|gallery| &gallery.examples);
        let examples = examples.filter(|example| !example.landscape.is_empty());
        let landscapes: Vec<_> =
            examples.map(|example| (example.id.clone(), example.landscape.clone())).collect();
        if !landscapes.is_empty() {
            charts.push(("landscape", Chart::landscape(&landscapes)));
        }
        if !self.losses.is_empty() {
            charts.push(("loss", Chart::loss(&self.losses)));
        }
        if self.validations.len() > 1 {
            charts.push(("validation", Chart::validation(&self.validations)));
        }
        charts.extend(epsilons::histograms(&self.epsilons).map(|chart| ("epsilons", chart)));
        charts.extend(monitor::charts(&self.monitor));
        charts
    }
}

/// Renders `figures/*.svg`, `tables/*` (each as `.csv`, `.md` and `.tex`) and `report.html` of a run directory from its
/// other files; gives the report's path. May be repeated at any time.
///
/// # Errors
/// As [`RunSummary::read`], and if a file cannot be written.
pub fn write_report(directory: &RunDirectory) -> anyhow::Result<PathBuf> {
    let run = RunSummary::read(directory.path())?;
    let mut charts = Vec::new();
    for (name, chart) in run.charts() {
        let svg = chart.svg()?;
        directory.write(&format!("figures/{name}.svg"), svg.as_bytes())?;
        charts.push((name, svg));
    }
    for (name, table) in scores::tables(&run) {
        table.write(directory, name)?;
    }
    directory.write("report.html", run_page::render(&run, &charts)?.as_bytes())?;
    Ok(directory.file("report.html"))
}

/// The JSON file at `path`; nothing if there is none.
pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| refuse(format!("is not what robustseg writes ({})", plain(error)))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(refuse(format!("cannot be read: {error}"))),
    }
}

/// What the events of a training say, by step.
#[derive(Debug, Default, PartialEq)]
struct Events {
    losses: Vec<(u64, f64)>,
    validations: Vec<(u64, f64)>,
    epsilons: Vec<(u64, Vec<f64>)>,
}

/// The events of the log at `path`, each with the number of its line; none if there is no log. A last line without an
/// end was torn by a crash, and does not count.
pub(super) fn log(path: &Path) -> Result<Vec<(usize, Value)>, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let event = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(event) => Ok((number, event)),
        Err(error) => Err(refuse(format!("line {number} is no event ({})", plain(error)))),
    };
    (1..).zip(whole.lines()).map(event).collect()
}

/// Losses, validations and epsilons of the event log at `path`.
fn events(path: &Path) -> Result<Events, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    let mut found = Events::default();
    for (line_number, event) in log(path)? {
        let (values, key) = match event["kind"].as_str() {
            Some("step") => (&mut found.losses, "loss"),
            Some("validation") => (&mut found.validations, "miou"),
            Some(_) => continue,
            None => return Err(refuse(format!("line {line_number} is no event: it has no kind"))),
        };
        let (Some(step), Some(value)) = (event["step"].as_u64(), event[key].as_f64()) else {
            return Err(refuse(format!("line {line_number}: the event has no step or no {key}")));
        };
        values.push((step, value));
        if let Some(epsilons) = event["epsilons"].as_array() {
            found.epsilons.push((step, epsilons.iter().filter_map(Value::as_f64).collect()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_finished_run_has_its_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fixture::run(&path, "newton + co", "fast_newton: {}", 0.7, 2.0);
        let report = write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
        let html = std::fs::read_to_string(report).unwrap();
        for part in [
            "<h1>newton + co</h1>",
            "Fast Newton",
            "0.7000",
            "&lt;road&gt;",
            "BIM, alpha 0.004, 10 steps",
            "data:image/png;base64,",
            "weight_decay",
            "0123abcd",
            "Training loss",
            "Epsilon of the adversarial examples",
            "evaluated on 24 of 100 images of split val",
            "<dt>images</dt><dd>24 of 100 of split val</dd>",
            "<dt>weights</dt><dd>last</dd>",
            "val: 100 samples, 24 of them evaluated",
            "24 of 100 images of split val, weights: last.</p>",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        for stranger in ["<road>", "<script", "src=\"http", "href=", "NaN", "inf%"] {
            assert!(!html.contains(stranger), "{stranger} is in the report");
        }
        for figure in ["robustness", "landscape", "loss", "validation", "epsilons"] {
            let svg = std::fs::read_to_string(path.join(format!("figures/{figure}.svg"))).unwrap();
            assert!(svg.starts_with("<svg") && html.contains(&svg), "{figure}");
        }
        let svg = std::fs::read_to_string(path.join("figures/robustness.svg")).unwrap();
        assert!(svg.contains("worst case over all") && svg.contains("stroke-width=\"4\""), "{svg}");
        let csv = std::fs::read_to_string(path.join("tables/classes.csv")).unwrap();
        assert!(csv.starts_with("class,clean,FGSM at 0.04,BIM at 0.04,split,images,split_images\n"), "{csv}");
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
        assert!(html.contains("&lt;road&gt;") && html.contains("0.5000"));
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
        assert!(!html.contains("selection on the test data") && html.contains("<dd>best</dd>"));
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
            ("events.jsonl", "{\"kind\": \"step\", \"step\": 1, \"loss\": 2}\n{\"ki\n", "line 2"),
            ("events.jsonl", "{\"kind\": \"validation\", \"step\": 1}\n", "no miou"),
        ] {
            fixture::run(&path, "x", "basic", 0.7, 2.0);
            std::fs::write(path.join(file), content).unwrap();
            let error = RunSummary::read(&path).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(part), "{file}: {error}");
            std::fs::remove_file(path.join(file)).unwrap();
        }
    }

    #[test]
    fn a_torn_last_line_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let step = "{\"kind\": \"step\", \"step\": 4, \"loss\": 1.5}\n";
        std::fs::write(&path, format!("{step}{{\"kind\": \"other\"}}\n{{\"kind\": \"st")).unwrap();
        let expected = Events { losses: vec![(4, 1.5)], ..Events::default() };
        assert_eq!(events(&path).unwrap(), expected);
    }
}
