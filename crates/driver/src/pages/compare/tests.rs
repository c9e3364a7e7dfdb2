//! Comparisons of made-up runs.

use super::*;
use crate::exit::Exit;
use crate::pages::fixture;
use serde_json::Value;
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
    for figure in
        ["fgsm", "bim", "clean_and_attacked", "worst_case"].map(|name| format!("figures/{name}.svg"))
    {
        let svg = read(&figure);
        assert!(svg.contains(">basic<") && svg.contains(">newton<"), "{svg}");
        let wide = ["clean_and_attacked", "worst_case"].iter().any(|name| figure.contains(name));
        assert_eq!(read("compare.html").contains(&svg), wide, "{figure}");
        assert!(std::fs::read(out.file(&figure.replace("svg", "pdf"))).unwrap().starts_with(b"%PDF"));
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
    assert!(csv.starts_with("run,method,0.005,0.01,") && csv.contains("\nnewton,Fast Newton,0."), "{csv}");
    assert!(read("tables/time.tex").contains("31.0 \\%") && read("tables/time.md").contains("31.0 %"));
    let json: Value = serde_json::from_str(&read("comparison.json")).unwrap();
    assert_eq!(json[0]["additional_time_percent"], 0.0);
}

#[test]
fn the_most_robust_run_comes_first_and_differences_of_the_specs_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["scenes_basic", "scenes_newton"].map(|name| folder.path().join(name));
    fixture::run(&paths[0], "scenes_basic", "basic", 0.7, 2.0);
    fixture::run(&paths[1], "scenes_newton", "fast_newton: {}", 0.68, 2.62);
    crate::pages::write_report(&RunDirectory::lock(&paths[0]).unwrap()).unwrap();
    let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
    let comparison = compare(&paths, &out).unwrap();
    let read = |name: &str| std::fs::read_to_string(out.file(name)).unwrap();
    // The fixture's second run falls more slowly with epsilon.
    let names: Vec<&str> = comparison.ranked().iter().map(|run| run.label.as_str()).collect();
    assert_eq!(names, ["newton", "basic"]);
    let ranking = read("tables/ranking.csv");
    assert!(ranking.lines().nth(1).unwrap().starts_with("1,newton,0."), "{ranking}");
    let differences = read("tables/differences.csv");
    assert!(
        differences.starts_with("setting,") && differences.contains("\ntraining.method"),
        "{differences}"
    );
    assert!(!differences.contains("scenes_"), "{differences}");
    let page = read("compare.html");
    for part in [
        "newton is the most robust of 2 runs: mean IoU 0.",
        "The names begin with scenes_.",
        "<a href=\"../scenes_basic/report.html\">basic</a>",
        "prediction of basic for scene 1 under the attack",
        "IoU of each class in the worst case",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("scenes_newton/report.html"), "it has no report");
    let json: Value = serde_json::from_str(&read("comparison.json")).unwrap();
    assert_eq!(json[0]["name"], "scenes_basic");
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
fn lines_of_two_settings_never_have_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["run-a", "run-b", "run-c", "run-d"].map(|name| folder.path().join(name));
    fixture::run(&paths[0], "run-a", "basic", 0.6, 2.0);
    fixture::run(&paths[1], "run-b", "basic", 0.5, 2.0);
    fixture::run(&paths[2], "run-c", "fast_newton: {}", 0.62, 2.0);
    fixture::run(&paths[3], "run-d", "fast_newton: {}", 0.52, 2.0);
    for path in [&paths[1], &paths[3]] {
        change(path, "evaluation.json", "\"seed\": 0", "\"seed\": 1");
    }
    let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
    let comparison = compare(&paths, &out).unwrap();
    for (name, chart) in comparison.charts() {
        let [first, second] = &chart.lines[..] else { panic!("{name}: {:?}", chart.lines) };
        assert_ne!(first.label, second.label, "{name}");
    }
}

#[test]
fn figures_have_one_line_for_all_seeds_of_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["seed-0-newton", "seed-1-newton", "seed-0-basic"].map(|name| folder.path().join(name));
    fixture::run(&paths[0], "seed-0-newton", "fast_newton: {}", 0.7, 2.0);
    fixture::run(&paths[1], "seed-1-newton", "fast_newton: {}", 0.6, 2.0);
    fixture::run(&paths[2], "seed-0-basic", "basic", 0.1, 2.0);
    change(&paths[1], "evaluation.json", "\"seed\": 0", "\"seed\": 1");
    let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
    let comparison = compare(&paths, &out).unwrap();
    let runs = &comparison.runs;
    let mean = |of: fn(&ComparedRun) -> f64| f64::midpoint(of(&runs[0]), of(&runs[1]));
    let clean = mean(|run| run.evaluation.clean.miou);
    for (name, chart) in comparison.charts() {
        let labels: Vec<&str> = chart.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["seed-newton (2 seeds)", "seed-0-basic"], "{name}");
        let [newton, basic] = &chart.lines[..] else { panic!("{name}") };
        if name == "clean_and_attacked" {
            assert_eq!(newton.points, [(clean, mean(ComparedRun::lowest))]);
            assert_eq!(basic.points.len(), 1);
        } else {
            assert_eq!(newton.points[0], (0.0, clean), "{name}");
            assert_eq!(newton.points.len(), basic.points.len(), "{name}");
        }
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
    assert!(lines[0].starts_with("runs,seeds,clean,deviation,FGSM at 0.04 (10.2/255),deviation,"), "{csv}");
    assert!(
        lines[0].ends_with(",worst case at 0.04 (10.2/255),deviation,split,images,split_images"),
        "{csv}"
    );
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
fn the_weights_of_each_run_are_named_and_a_selection_on_the_test_data_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let paths = pair(folder.path());
    let selected = "\"weights\": \"best\", \"selected_on_evaluated_split\": true";
    change(&paths[1], "evaluation.json", "\"weights\": \"last\"", selected);
    let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
    compare(&paths, &out).unwrap();
    let csv = std::fs::read_to_string(out.file("tables/scores.csv")).unwrap();
    assert!(csv.contains("basic,Basic,last,") && csv.contains("newton,Fast Newton,best,"), "{csv}");
    let page = std::fs::read_to_string(out.file("compare.html")).unwrap();
    assert!(page.contains("newton: these weights were chosen by their score on the evaluated split"));
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
        change(path, "evaluation.json", "\"training\": {", "\"checkpoint\": \"abcd\",\n  \"training\": {");
    }
    refused(&paths, "the same checkpoint (SHA-256 abcd)");
    // Runs with an unknown checkpoint are the same result if their scores are equal.
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
    // The best weights may belong to any step.
    begin();
    change(&paths[1], "evaluation.json", "\"step\": 200", "\"step\": 100");
    for path in &paths {
        change(path, "evaluation.json", "\"weights\": \"last\"", "\"weights\": \"best\"");
    }
    assert_eq!(seed_rows(&paths, folder.path()), 1);
    begin();
    change(&paths[1], "evaluation.json", "\"training\": {", "\"training\": \"unknown\", \"other\": {");
    let out = RunDirectory::lock(&folder.path().join("out")).unwrap();
    // The method of a training is in its spec.
    assert_eq!(compare(&paths, &out).unwrap().runs[1].method.as_deref(), Some("basic"));
    // The spec of an evaluation does not describe the checkpoint's training.
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
fn runs_of_one_name_are_distinguished_and_accepted() {
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
