//! Several runs in the paper's figures 3 and 4 and tables 1 and 2.

use std::collections::HashMap;
use std::path::PathBuf;

use robustseg_evaluation::{Evaluation, Scope};
use serde_json::{Value, json};

use super::chart::{Chart, Line};
use super::table::{Cell, Table};
use super::warnings::SELECTED;
use super::{RunSummary, compare_page, copies, curve_title, paper_name, protocol, seeds};
use crate::exit::Usage;
use crate::run_directory::RunDirectory;
use crate::run_timing::RunTiming;
use crate::spec::Spec;

/// What the worst case is over, as title.
const WORST_CASE: &str = "worst case over all attacks";

/// A run among others.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// Its name in figures and tables, which no other run has.
    pub label: String,
    /// The method that its weights were trained with, by its name in specs, if that is known.
    pub method: Option<String>,
    /// The scores.
    pub evaluation: Evaluation,
    /// Where the time went, if that was kept.
    pub timing: Option<RunTiming>,
    /// By how many percent a step, on average, takes longer than one of the basic run. Nothing if there is none
    /// among the runs that computed on the same device with the same network and batches.
    pub additional_time_percent: Option<f64>,
}

/// Runs that were evaluated alike.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The runs, in the order in which they were given.
    pub runs: Vec<ComparedRun>,
    /// The names of the data's classes.
    pub class_names: Vec<String>,
}

/// Reads the run directories and writes into `out`: `compare.html`, `comparison.json`, `figures/ATTACK.svg` (figures
/// 3 and 4 of the paper) and `figures/worst_case.svg`, and in `tables`, each as `.csv`, `.md` and `.tex`, `scores`, `time`
/// (tables 1 and 2 of the paper), `mean_iou_ATTACK`, `mean_iou_worst_case`, `classes`, and `seeds` (see
/// [`Comparison::tables`]).
///
/// # Errors
/// If a directory holds no finished run, or runs were not evaluated alike: by other data, split, window, attack, or other
/// epsilons. [`Usage`] if two are one result: the same directory, a copy, the same checkpoint, or the same training and seed.
pub fn compare(run_directories: &[PathBuf], out: &RunDirectory) -> anyhow::Result<Comparison> {
    let runs =
        run_directories.iter().map(|path| RunSummary::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let comparison = Comparison::new(&runs)?;
    comparison.write(out)?;
    Ok(comparison)
}

impl Comparison {
    /// The comparison of `runs`.
    ///
    /// # Errors
    /// If there are none, they were not evaluated alike, or two of them are one result (see [`compare`]).
    pub fn new(runs: &[RunSummary]) -> anyhow::Result<Self> {
        let Some(first) = runs.first() else {
            return Err(Usage("there is no run to compare".into()).into());
        };
        runs.iter().try_for_each(|run| protocol::require_same(first, run))?;
        copies::refuse(runs)?;
        let mut names: HashMap<String, usize> = HashMap::new();
        for run in runs {
            *names.entry(run.name()).or_default() += 1;
        }
        let compared = runs.iter().map(|run| {
            let label = match run.name() {
                name if names[&name] == 1 => name,
                name => format!("{name} ({})", run.path.display()),
            };
            ComparedRun {
                label,
                method: run.method().map(str::to_owned),
                additional_time_percent: additional_time(run, runs),
                evaluation: run.evaluation.clone(),
                timing: run.timing.clone(),
            }
        });
        let classes = runs.iter().map(|run| run.evaluation.clean.iou.len()).max().unwrap_or(0);
        let class_names = (0..classes).map(|label| first.class_name(label)).collect();
        Ok(Self { runs: compared.collect(), class_names })
    }

    /// The robustness curves, a chart for each attack and one for the worst case over all: the name of its file without
    /// `.svg`, and the chart.
    pub fn charts(&self) -> Vec<(String, Chart)> {
        let curves = self.runs.first().map_or(&[][..], |run| &run.evaluation.curves);
        let chart = |(index, name): (usize, String)| {
            let line = |run: &ComparedRun| Line::robustness(&run.label, &run.evaluation.curves[index]);
            let title = curve_title(&curves[index].attack, &curves[index].parameters);
            (name, Chart::robustness(&title, self.runs.iter().map(line).collect()))
        };
        let mut charts: Vec<_> = self.curve_names().into_iter().enumerate().map(chart).collect();
        let worst = self.runs.iter().filter_map(|run| Line::worst_case(&run.label, &run.evaluation));
        let worst: Vec<Line> = worst.collect();
        if !worst.is_empty() {
            charts.push(("worst_case".into(), Chart::robustness(WORST_CASE, worst)));
        }
        charts
    }

    /// All tables, with the names of their files: `scores`, `time`, `mean_iou_ATTACK` for each attack,
    /// `mean_iou_worst_case`, `classes`, and `seeds` if there are runs that differ in their seed alone.
    pub fn tables(&self) -> Vec<(String, Table)> {
        let scope = self.scope();
        let mut tables = vec![("scores".into(), self.scores().on(&scope)), ("time".into(), self.time())];
        let names = self.curve_names().into_iter().enumerate();
        tables
            .extend(names.map(|(index, name)| (format!("mean_iou_{name}"), self.mean_iou(index).on(&scope))));
        tables.extend(self.worst_case().map(|table| ("mean_iou_worst_case".into(), table.on(&scope))));
        tables.push(("classes".into(), self.classes().on(&scope)));
        let seeds = seeds::table(&self.runs);
        if !seeds.rows.is_empty() {
            tables.push(("seeds".into(), seeds.on(&scope)));
        }
        tables
    }

    /// What all runs were evaluated on, and their weights if those are of one kind.
    pub(super) fn scope(&self) -> Scope {
        let scopes = || self.runs.iter().map(|run| &run.evaluation.scope);
        let Some(first) = scopes().find(|scope| scope.images.is_some()) else { return Scope::default() };
        let alike = scopes().all(|scope| scope.weights == first.weights);
        Scope { weights: first.weights.clone().filter(|_| alike), ..first.clone() }
    }

    /// The tables as text for a terminal.
    pub fn plain(&self) -> String {
        self.tables().iter().map(|(_, table)| table.plain()).collect::<Vec<_>>().join("\n")
    }

    /// A name for each curve that fits a file: its attack's, with a number from the second of one attack on.
    fn curve_names(&self) -> Vec<String> {
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

    fn scores(&self) -> Table {
        let columns = [
            "run",
            "method",
            "weights",
            "mean IoU",
            "95 % from",
            "to",
            "pixel accuracy",
            "boundary mean IoU",
            "warnings",
        ];
        let mut table = Table::new("Clean scores", columns);
        table.rows.extend(self.runs.iter().map(|run| {
            let clean = &run.evaluation.clean;
            let end = |index: usize| Cell::number(clean.miou_interval.map(|interval| interval[index]), 4);
            let warnings = run.evaluation.warnings.len() as f64;
            let weights = run.evaluation.scope.weights.clone();
            let scores = [
                weights.map_or(Cell::Missing, Cell::Text),
                Cell::Fraction(clean.miou),
                end(0),
                end(1),
                Cell::Fraction(clean.pixel_accuracy),
                Cell::fraction(clean.boundary_miou),
                Cell::Number(warnings, 0),
            ];
            run.head().into_iter().chain(scores).collect()
        }));
        if self.runs.iter().any(|run| !run.evaluation.warnings.is_empty()) {
            table.note =
                "Warnings give reason to distrust numbers under attack; the report of the run has them."
                    .into();
        }
        let selected = self.runs.iter().filter(|run| run.evaluation.scope.selected_on_evaluated_split);
        let selected: Vec<&str> = selected.map(|run| run.label.as_str()).collect();
        if !selected.is_empty() {
            let space = if table.note.is_empty() { "" } else { " " };
            table.note += &format!("{space}{}: {SELECTED}.", selected.join(", "));
        }
        table
    }

    /// IoU of each class on clean images, a run a column.
    fn classes(&self) -> Table {
        let names = self.runs.iter().map(|run| run.label.clone());
        let mut table = Table::new("Clean IoU of each class", ["class".to_owned()].into_iter().chain(names));
        let classes = self.runs.iter().map(|run| run.evaluation.clean.iou.len()).max().unwrap_or(0);
        table.rows.extend((0..classes).map(|label| {
            let name = self.class_names.get(label).cloned().unwrap_or_else(|| format!("class {label}"));
            let iou = self.runs.iter().map(|run| run.evaluation.clean.iou.get(label).copied().flatten());
            std::iter::once(Cell::Text(name)).chain(iou.map(Cell::fraction)).collect()
        }));
        table
    }

    /// Tables 1 and 2 of the paper.
    fn time(&self) -> Table {
        let columns = [
            "run",
            "method",
            "steps",
            "seconds a step",
            "images a second",
            "training s",
            "additional time",
            "device",
        ];
        let mut table = Table::new("Additional training time over Basic", columns);
        table.rows.extend(self.runs.iter().map(|run| {
            let timing = run.timing.as_ref();
            let numbers = [
                Cell::number(timing.map(|timing| timing.training.steps as f64), 0),
                Cell::number(timing.map(|timing| timing.step_seconds), 4),
                Cell::number(timing.map(|timing| timing.images_per_second), 2),
                Cell::number(timing.map(|timing| timing.training_seconds), 1),
                Cell::percent(run.additional_time_percent),
                Cell::Text(timing.map_or_else(|| "n/a".into(), |timing| timing.device.clone())),
            ];
            run.head().into_iter().chain(numbers).collect()
        }));
        table.note = "Additional time: of an average step over one of the basic run, in percent".into();
        if self.runs.iter().any(|run| run.additional_time_percent.is_none()) {
            table.note +=
                "; n/a where there is no basic run on the same device with the same network and batches";
        }
        table
    }

    /// Mean IoU under curve `index`, an epsilon a column.
    fn mean_iou(&self, index: usize) -> Table {
        let first = &self.runs[0].evaluation.curves[index];
        let columns = first.points.iter().map(|point| point.epsilon.to_string());
        let title = format!("Mean IoU under {}, by epsilon", curve_title(&first.attack, &first.parameters));
        let mut table = Table::new(title, ["run".into(), "method".into()].into_iter().chain(columns));
        table.rows.extend(self.runs.iter().map(|run| {
            let points = &run.evaluation.curves[index].points;
            run.head()
                .into_iter()
                .chain(points.iter().map(|point| Cell::Fraction(point.scores.miou)))
                .collect()
        }));
        table
    }

    /// Mean IoU in the worst case over all attacks, an epsilon a column; nothing if no run has it.
    fn worst_case(&self) -> Option<Table> {
        let points = self.runs.iter().flat_map(|run| &run.evaluation.worst_case);
        let mut epsilons: Vec<f64> = points.map(|point| point.epsilon).collect();
        epsilons.sort_by(f64::total_cmp);
        epsilons.dedup();
        if epsilons.is_empty() {
            return None;
        }
        let columns = epsilons.iter().map(f64::to_string);
        let title = format!("Mean IoU in the {WORST_CASE}, by epsilon");
        let mut table = Table::new(title, ["run".into(), "method".into()].into_iter().chain(columns));
        table.rows.extend(self.runs.iter().map(|run| {
            let at = |epsilon: &f64| {
                let mut points = run.evaluation.worst_case.iter();
                let point = points.find(|point| point.epsilon == *epsilon);
                Cell::fraction(point.map(|point| point.scores.miou))
            };
            run.head().into_iter().chain(epsilons.iter().map(at)).collect()
        }));
        table.note = "Of each image the worst example of all attacks at epsilons up to the column's.".into();
        Some(table)
    }

    /// What `comparison.json` holds: a list of the runs.
    pub fn json(&self) -> Value {
        let run = |run: &ComparedRun| {
            json!({
                "name": run.label,
                "method": run.method.as_deref().unwrap_or("unknown"),
                "seed": run.evaluation.training.as_ref().map(|training| training.seed),
                "evaluation": run.evaluation,
                "step_seconds": run.timing.as_ref().map(|timing| timing.step_seconds),
                "training_seconds": run.timing.as_ref().map(|timing| timing.training_seconds),
                "additional_time_percent": run.additional_time_percent,
            })
        };
        self.runs.iter().map(run).collect()
    }

    fn write(&self, out: &RunDirectory) -> anyhow::Result<()> {
        let mut figures = Vec::new();
        for (name, chart) in self.charts() {
            let svg = chart.svg()?;
            out.write(&format!("figures/{name}.svg"), svg.as_bytes())?;
            figures.push((chart.title, svg));
        }
        for (name, table) in self.tables() {
            table.write(out, &name)?;
        }
        out.write_json("comparison.json", &self.json())?;
        out.write("compare.html", compare_page::render(self, &figures).as_bytes())
    }
}

impl ComparedRun {
    /// The cells that every row starts with.
    fn head(&self) -> [Cell; 2] {
        [Cell::text(self.label.clone()), Cell::text(self.method.as_deref().map_or("unknown", paper_name))]
    }
}

/// By how many percent a step of `run` takes longer than one of the basic run among `runs`.
fn additional_time(run: &RunSummary, runs: &[RunSummary]) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::report::fixture;
    use std::path::Path;

    fn change(path: &Path, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path.join(file), text.replace(from, to)).unwrap();
    }

    /// Two runs, a basic one and a slower one.
    fn pair(folder: &Path) -> [PathBuf; 2] {
        let paths = ["basic", "newton"].map(|name| folder.join(name));
        fixture::run(&paths[0], "basic", "basic", 0.7, 2.0);
        fixture::run(&paths[1], "newton", "fast_newton: {}", 0.68, 2.62);
        paths
    }

    #[test]
    fn runs_stand_in_one_figure_and_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        let comparison = compare(&pair(folder.path()), &out).unwrap();
        let text = comparison.plain();
        assert!(text.contains("31.0 %") && text.contains("0.6800") && text.contains("Fast Newton"), "{text}");
        let read = |name: &str| std::fs::read_to_string(out.file(name)).unwrap();
        for figure in ["figures/fgsm.svg", "figures/bim.svg", "figures/worst_case.svg"] {
            let svg = read(figure);
            assert!(svg.contains(">\nbasic") && svg.contains(">\nnewton"), "{svg}");
            assert!(read("compare.html").contains(&svg));
        }
        for table in ["scores", "mean_iou_bim", "classes"] {
            let sentence = "24 of 100 images of split val, weights: last.";
            for ending in ["md", "tex"] {
                let text = read(&format!("tables/{table}.{ending}"));
                assert!(text.contains(sentence), "{table}.{ending}: {text}");
            }
            let csv = read(&format!("tables/{table}.csv"));
            assert!(csv.lines().nth(1).is_some_and(|line| line.ends_with(",val,24,100")), "{csv}");
            assert!(read("compare.html").contains(sentence));
        }
        let csv = read("tables/mean_iou_bim.csv");
        assert!(csv.starts_with("run,method,0,0.005,0.01,"), "{csv}");
        assert_eq!(csv.lines().count(), 3);
        let csv = read("tables/mean_iou_worst_case.csv");
        assert!(
            csv.starts_with("run,method,0.005,0.01,") && csv.contains("\nnewton,Fast Newton,0."),
            "{csv}"
        );
        assert!(read("tables/time.tex").contains("31.0 \\%") && read("tables/time.md").contains("31.0 %"));
        let json: Value = serde_json::from_str(&read("comparison.json")).unwrap();
        assert_eq!(json[0]["additional_time_percent"], 0.0);
    }

    #[test]
    fn runs_that_were_evaluated_otherwise_are_refused() {
        for (file, from, to, what) in [
            ("spec.yaml", "validation_split: val", "validation_split: test", "split"),
            ("spec.yaml", "limit: 24", "limit: 25", "limit of samples"),
            ("spec.yaml", "window: whole", "window: {center_crop: {size: 9}}", "window"),
            ("provenance.json", "aaaa", "bbbb", "classes"),
            ("provenance.json", "cccc", "dddd", "samples"),
            ("provenance.json", "eeee", "ffff", "images or labels"),
            ("evaluation.json", "\"alpha\": 0.004", "\"alpha\": 0.01", "attacks"),
            ("evaluation.json", "\"epsilon\": 0.035", "\"epsilon\": 0.036", "attacks"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let paths = pair(folder.path());
            change(&paths[1], file, from, to);
            let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
            let error = compare(&paths, &out).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(&format!("differ in their {what}")), "{what}: {message}");
            assert!(message.contains("basic and ") && message.contains("newton cannot"), "{message}");
            assert_eq!(Exit::of(&error), Exit::Data);
            assert!(!out.file("compare.html").exists());
        }
    }

    #[test]
    fn runs_that_differ_in_their_seed_alone_have_a_mean_and_a_deviation() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two", "other"].map(|name| folder.path().join(name));
        fixture::run(&paths[0], "one", "fast_newton: {}", 0.7, 2.0);
        fixture::run(&paths[1], "two", "fast_newton: {}", 0.6, 2.0);
        fixture::run(&paths[2], "other", "basic", 0.1, 2.0);
        change(&paths[1], "evaluation.json", "\"seed\": 0", "\"seed\": 1");
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        compare(&paths, &out).unwrap();
        let csv = std::fs::read_to_string(out.file("tables/seeds.csv")).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].starts_with("runs,seeds,clean,deviation,FGSM at 0.04,deviation,"), "{csv}");
        assert!(lines[0].ends_with(",worst case at 0.04,deviation,split,images,split_images"), "{csv}");
        assert_eq!(lines.len(), 2, "{csv}");
        assert!(
            lines[1].starts_with("\"one, two\",2,0.6499999") || lines[1].starts_with("\"one, two\",2,0.65"),
            "{csv}"
        );
        let deviation: f64 = lines[1].split(',').nth(4).unwrap().parse().unwrap();
        assert!((deviation - 0.1 / 2.0_f64.sqrt()).abs() < 1e-9, "{csv}");
        let alone = compare(&paths[1..], &out).unwrap();
        assert!(alone.tables().iter().all(|(name, _)| name != "seeds"));
        let classes = std::fs::read_to_string(out.file("tables/classes.csv")).unwrap();
        assert!(classes.starts_with("class,two,other,split,images,split_images\nsky,"), "{classes}");
    }

    #[test]
    fn the_weights_of_each_run_are_named_and_a_selection_on_the_test_data_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pair(folder.path());
        let selected = "\"weights\": \"best\", \"selected_on_evaluated_split\": true";
        change(&paths[1], "evaluation.json", "\"weights\": \"last\"", selected);
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        compare(&paths, &out).unwrap();
        let csv = std::fs::read_to_string(out.file("tables/scores.csv")).unwrap();
        assert!(csv.contains("basic,Basic,last,") && csv.contains("newton,Fast Newton,best,"), "{csv}");
        let page = std::fs::read_to_string(out.file("compare.html")).unwrap();
        assert!(
            page.contains("newton: these weights were chosen by their clean score on the evaluated split")
        );
        assert!(!page.contains("weights: last"), "they are not alike");
    }

    #[test]
    fn results_from_before_images_were_counted_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pair(folder.path());
        for path in &paths {
            let file = path.join("evaluation.json");
            let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            value.as_object_mut().unwrap().retain(|key, _| ["clean", "curves"].contains(&key.as_str()));
            std::fs::write(file, value.to_string()).unwrap();
        }
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        let text = compare(&paths, &out).unwrap().plain();
        assert!(text.contains("0.6800") && !text.contains("images of"), "{text}");
    }

    #[test]
    fn one_result_given_twice_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let refused = |paths: &[PathBuf], what: &str| {
            let error = compare(paths, &out).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("are one result") && message.contains(what), "{what}: {message}");
            assert_eq!(Exit::of(&error), Exit::Usage);
            assert!(!out.file("compare.html").exists());
        };
        fixture::run(&paths[0], "one", "basic", 0.7, 2.0);
        fixture::run(&paths[1], "two", "basic", 0.6, 2.0);
        refused(&paths, "the same setting with the same seed, 0");
        refused(&[paths[0].clone(), paths[0].join("../one")], "the same directory");
        change(&paths[1], "evaluation.json", "\"seed\": 0", "\"seed\": 1");
        assert_eq!(seed_rows(&paths, folder.path()), 1);
        for path in &paths {
            change(
                path,
                "evaluation.json",
                "\"training\": {",
                "\"checkpoint\": \"abcd\",\n  \"training\": {",
            );
        }
        refused(&paths, "the same checkpoint (SHA-256 abcd)");
        // Of runs that do not say of which checkpoint they are, equal scores say it.
        fixture::run(&paths[1], "two", "basic", 0.7, 2.0);
        change(&paths[1], "evaluation.json", "\"seed\": 0", "\"seed\": 1");
        refused(&paths, "all their scores are equal");
    }

    /// The rows of the table of seeds.
    fn seed_rows(paths: &[PathBuf], folder: &Path) -> usize {
        let out = RunDirectory::lock(&folder.join("seeds")).unwrap();
        let tables = compare(paths, &out).unwrap().tables();
        tables.iter().find(|(name, _)| name == "seeds").map_or(0, |(_, table)| table.rows.len())
    }

    #[test]
    fn trainings_of_other_settings_data_or_unknown_origin_are_no_seeds_of_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let begin = || {
            fixture::run(&paths[0], "one", "basic", 0.7, 2.0);
            fixture::run(&paths[1], "two", "basic", 0.6, 2.0);
            change(&paths[1], "evaluation.json", "\"seed\": 0", "\"seed\": 1");
        };
        begin();
        assert_eq!(seed_rows(&paths, folder.path()), 1);
        for (from, to) in [
            ("\"step\": 200", "\"step\": 100"),
            ("\"spec_sha256\": \"", "\"spec_sha256\": \"0"),
            ("\"training\": {", "\"training\": \"unknown\", \"other\": {"),
        ] {
            begin();
            change(&paths[1], "evaluation.json", from, to);
            assert_eq!(seed_rows(&paths, folder.path()), 0, "{to}");
        }
        // The best weights are of whatever step.
        begin();
        change(&paths[1], "evaluation.json", "\"step\": 200", "\"step\": 100");
        for path in &paths {
            change(path, "evaluation.json", "\"weights\": \"last\"", "\"weights\": \"best\"");
        }
        assert_eq!(seed_rows(&paths, folder.path()), 1);
        begin();
        change(&paths[1], "evaluation.json", "\"training\": {", "\"training\": \"unknown\", \"other\": {");
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        // That of a training whose spec says it.
        assert_eq!(compare(&paths, &out).unwrap().runs[1].method.as_deref(), Some("basic"));
        // The spec of an evaluation says nothing of the checkpoint's training.
        let checkpoint = "\"checkpoint\": {\"path\": \"a\", \"sha256\": \"b\"},\n  \"seed\": 7";
        change(&paths[1], "provenance.json", "\"seed\": 7", checkpoint);
        let comparison = compare(&paths, &out).unwrap();
        assert_eq!(comparison.runs[1].method, None);
        assert!(comparison.plain().contains("unknown"), "{}", comparison.plain());
    }

    #[test]
    fn a_manifest_written_or_named_otherwise_is_the_same_data() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pair(folder.path());
        change(&paths[1], "spec.yaml", "scenes.yaml", "renamed.yaml");
        change(&paths[1], "provenance.json", "\"manifest_sha256\": \"", "\"manifest_sha256\": \"0");
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        compare(&paths, &out).unwrap();
    }

    #[test]
    fn the_table_of_times_names_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pair(folder.path());
        change(&paths[1], "timing.json", "\"device\": \"cpu\"", "\"device\": \"cpu: EPYC, 2 threads\"");
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        compare(&paths, &out).unwrap();
        let csv = std::fs::read_to_string(out.file("tables/time.csv")).unwrap();
        assert!(csv.lines().next().unwrap().ends_with(",device"), "{csv}");
        assert!(csv.contains("\"cpu: EPYC, 2 threads\""), "{csv}");
    }

    #[test]
    fn without_a_fitting_basic_run_there_is_no_additional_time() {
        let folder = tempfile::tempdir().unwrap();
        let paths = pair(folder.path());
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        let alone = compare(&paths[1..], &out).unwrap();
        assert_eq!(alone.runs[0].additional_time_percent, None);
        assert!(alone.plain().contains("n/a"), "{}", alone.plain());
        change(&paths[1], "timing.json", "\"device\": \"cpu\"", "\"device\": \"cuda\"");
        assert_eq!(compare(&paths, &out).unwrap().runs[1].additional_time_percent, None);
        std::fs::remove_file(paths[1].join("timing.json")).unwrap();
        assert_eq!(compare(&paths, &out).unwrap().runs[1].additional_time_percent, None);
    }

    #[test]
    fn runs_of_one_name_are_told_apart_and_none_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [basic, _] = pair(folder.path());
        let other = folder.path().join("again");
        fixture::run(&other, "basic", "basic", 0.6, 2.0);
        change(&other, "evaluation.json", "\"seed\": 0", "\"seed\": 1");
        let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
        let labels = compare(&[basic, other], &out).unwrap().runs.into_iter().map(|run| run.label);
        let labels: Vec<String> = labels.collect();
        assert!(labels[0] != labels[1] && labels[1].contains("again"), "{labels:?}");
        assert!(compare(&[], &out).is_err());
    }
}
