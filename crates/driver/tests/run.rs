//! `robustseg run`, end to end on generated data: results, interruption, resuming, occupied
//! directories.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{experiments, fails, files, refuses, robustseg, run_in, succeeds};
use robustseg_driver::run_directory::RunDirectory;
use robustseg_driver::spec::Spec;
use serde_json::Value;

fn smoke() -> String {
    experiments().join("smoke.yaml").display().to_string()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn the_smoke_experiment_leaves_everything_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_in(folder.path(), &["run", &smoke()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = folder.path().join("runs/smoke");

    let evaluation = json(&run.join("evaluation.json"));
    let clean = evaluation["clean"]["miou"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&clean));
    assert_eq!(evaluation["curves"][0]["attack"], "fgsm");
    assert_eq!(evaluation["curves"][1]["parameters"]["steps"], 3);
    assert_eq!(evaluation["curves"][0]["points"][0]["miou"], clean);

    let spec = Spec::read(&run.join("spec.yaml"), &[]).unwrap();
    assert_eq!(spec, Spec::read(Path::new(&smoke()), &[]).unwrap());
    let provenance = json(&run.join("provenance.json"));
    assert_eq!(provenance["data"]["splits"].as_array().unwrap().len(), 2);
    assert_eq!(provenance["invocations"][0]["command"][1], "run");
    assert!(json(&run.join("timing.json"))["images_per_second"].as_f64().unwrap() > 0.0);

    let events = events(&run.join("events.jsonl"));
    assert_eq!(events.first().unwrap()["kind"], "training_started");
    assert_eq!(events.last().unwrap()["kind"], "training_finished");
    for event in &events {
        assert!(event["step"].is_u64() && event["epoch"].is_u64() && event["time_s"].is_f64(), "{event}");
    }
    assert_eq!(events.iter().filter(|event| event["kind"] == "monitor").count(), 1);
    for file in ["checkpoints/last.safetensors", "checkpoints/best.safetensors", "report.html"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let figures = std::fs::read_dir(run.join("figures")).unwrap();
    assert!(
        figures.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "svg")).count()
            > 0
    );

    // A separate evaluation of the same checkpoint gives the same scores.
    let checkpoint = run.join("checkpoints/last.safetensors").display().to_string();
    let output = run_in(folder.path(), &["evaluate", &smoke(), "--checkpoint", &checkpoint, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), evaluation);

    // The curve of any attack, with a line per image and example: 4 images, clean, from 2 starts,
    // and by SEA's 3 objectives.
    let curves = "evaluation.curves=[{pgd: {alpha: 0.01, steps: 2, restarts: 2, epsilons: [0, 0.02]}}, {mi_fgsm: {epsilons: [0.02]}}, {apgd: {steps: 5, epsilons: [0.02]}}, {sea: {steps: 5, epsilons: [0.02]}}]";
    let set = ["--set", curves, "--out", "strong", "--json"];
    let output =
        run_in(folder.path(), &[&["evaluate", &smoke(), "--checkpoint", &checkpoint][..], &set].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let strong: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(strong["curves"][3]["points"][0]["candidates"][2]["name"], "jensen_shannon");
    assert_eq!(strong["curves"][3]["passes"]["backward"], 15.0);
    let worst = strong["worst_case"][0]["miou"].as_f64().unwrap();
    for curve in strong["curves"].as_array().unwrap() {
        let last = curve["points"].as_array().unwrap().last().unwrap();
        assert!(worst <= last["miou"].as_f64().unwrap() + 1e-12, "{curve}");
    }
    let lines = std::fs::read_to_string(folder.path().join("strong/images.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 4 * (1 + 2 + 1 + 1 + 3));
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(line["id"].is_string() && line["attack"].is_null() && line["confusion"][0][2].is_u64(), "{line}");

    // With --out it leaves what `compare` needs, and never overwrites a run or the results of
    // another checkpoint.
    let smoke = smoke();
    let evaluate = |out| ["evaluate", &smoke, "--checkpoint", &checkpoint, "--out", out];
    for _ in 0..2 {
        assert!(run_in(folder.path(), &evaluate("again")).status.success());
    }
    assert_eq!(json(&folder.path().join("again/evaluation.json")), evaluation);
    assert!(folder.path().join("again/report.html").is_file());
    // It repeats the result of the run and does not count as another one.
    let twice = ["compare", "runs/smoke", "again", "--out", "both"];
    fails(folder.path(), &twice, 2, &["runs/smoke", "again", "same checkpoint"]);
    fails(folder.path(), &evaluate("runs/smoke"), 2, &["runs/smoke", "--out"]);
}

#[test]
fn a_finished_run_is_not_replaced_unless_overwrite_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = smoke();
    let with = |rest: &[&'static str]| -> Vec<String> {
        let short = ["run", &smoke, "--set", "training.epochs=1", "--set", "evaluation.limit=1"];
        short.iter().chain(rest).map(ToString::to_string).collect()
    };
    let succeeds = |rest: &[&'static str]| {
        let arguments = with(rest);
        let output = run_in(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let refused = |rest: &[&'static str], status: i32, parts: &[&str]| {
        let arguments = with(rest);
        let before = files(folder.path());
        fails(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>(), status, parts);
        assert!(files(folder.path()) == before, "{rest:?} changed something");
    };
    succeeds(&[]);
    let run = folder.path().join("runs/smoke");
    let last = run.join("checkpoints/last.safetensors");
    let before = std::fs::read(&last).unwrap();
    std::fs::write(run.join("notes.txt"), "mine").unwrap();

    let ways = ["runs/smoke", "--resume", "--out", "--overwrite"];
    refused(&[], 2, &ways);
    refused(&["--set", "seed=1"], 2, &["another spec", "--overwrite"]);
    refused(&["--overwrite", "--resume"], 2, &["--overwrite", "--resume"]);
    // A run that cannot start leaves the earlier one intact.
    refused(&["--overwrite", "--set", "model.pretrained=none.safetensors"], 3, &["none.safetensors"]);
    refused(&["--overwrite", "--set", "data.train_split=none"], 3, &["none"]);
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    std::fs::write(folder.path().join("pictures/a.png"), "x").unwrap();
    refused(&["--overwrite", "--out", "pictures"], 2, &["pictures", "holds no run"]);

    succeeds(&["--overwrite"]);
    assert!(before == std::fs::read(&last).unwrap(), "the same spec gives the same weights");
    assert_eq!(json(&run.join("provenance.json"))["invocations"].as_array().unwrap().len(), 1);
    succeeds(&["--overwrite", "--set", "seed=1"]);
    assert!(before != std::fs::read(&last).unwrap());
    assert_eq!(std::fs::read(run.join("notes.txt")).unwrap(), b"mine");

    // The same holds for an unfinished run.
    std::fs::remove_file(run.join("evaluation.json")).unwrap();
    refused(&["--set", "seed=1"], 2, &["unfinished", "--resume", "--overwrite"]);
    succeeds(&["--overwrite"]);
    assert!(before == std::fs::read(&last).unwrap());
}

/// The smoke experiment with more steps.
fn longer<'a>(smoke: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["run", smoke, "--set", "training.epochs=4", "--set", "evaluation.limit=1", "--out"];
    [&arguments[..], rest].concat()
}

#[test]
fn an_interrupted_run_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = smoke();
    let with = |rest| longer(&smoke, rest);
    let whole = run_in(folder.path(), &with(&["whole"]));
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));

    let log = folder.path().join("parts/events.jsonl");
    let mut child = robustseg(&with(&["parts"])).current_dir(folder.path()).spawn().unwrap();
    let start = Instant::now();
    while !events(&log).iter().any(|event| event["kind"] == "step" && event["step"].as_u64() >= Some(2)) {
        assert!(start.elapsed() < Duration::from_secs(60), "no step was done");
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(events(&log).last().unwrap()["kind"], "training_interrupted");
    assert!(!folder.path().join("parts/evaluation.json").exists());

    fails(folder.path(), &with(&["parts"]), 2, &["parts", "unfinished", "--resume"]);
    let other = with(&["parts", "--resume", "--set", "seed=1"]);
    fails(folder.path(), &other, 2, &["parts", "another spec"]);
    let resumed = run_in(folder.path(), &with(&["parts", "--resume"]));
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));

    let read = |run: &str, file: &str| std::fs::read(folder.path().join(run).join(file)).unwrap();
    for file in ["checkpoints/last.safetensors", "evaluation.json"] {
        assert!(read("whole", file) == read("parts", file), "{file} differs");
    }
    let steps = |run: &str| -> Vec<(u64, f64)> {
        let events = events(&folder.path().join(run).join("events.jsonl"));
        let steps = events.iter().filter(|event| event["kind"] == "step");
        steps.map(|event| (event["step"].as_u64().unwrap(), event["loss"].as_f64().unwrap())).collect()
    };
    assert_eq!(steps("whole"), steps("parts"));
    assert_eq!(
        json(&folder.path().join("parts/provenance.json"))["invocations"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _lock = RunDirectory::lock(&folder.path().join("used")).unwrap();
    fails(folder.path(), &["run", &smoke(), "--out", "used"], 1, &["used", "in use"]);
}

#[test]
fn training_that_diverges_ends_with_its_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", &smoke(), "--set", "training.learning_rate=1e30"];
    fails(folder.path(), &arguments, 4, &["at step", "learning rate", "failed_batch.safetensors"]);
    // The network and the batch of the failure are available for inspection.
    let failed = folder.path().join("runs/smoke/checkpoints");
    let input = failed.join("failed_batch.safetensors").display().to_string();
    let checkpoint = failed.join("failed.safetensors").display().to_string();
    let attack = ["attack", "--method", "fgsm", "--checkpoint", &checkpoint, "--input", &input, "--out", "x"];
    let (status, _) = common::failure(folder.path(), &attack);
    assert!(status == 0 || status == 4, "a result, or again something that is not a number");

    let skipping = [&arguments[..], &["--set", "training.skip_not_finite=3", "--out", "skipping"]].concat();
    fails(folder.path(), &skipping, 4, &["left out", "at step"]);
    let events = events(&folder.path().join("skipping/events.jsonl"));
    assert_eq!(events.iter().filter(|event| event["kind"] == "step_skipped").count(), 3);
    assert_eq!(events.last().unwrap()["kind"], "training_failed");
}

#[test]
fn two_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = smoke();
    for method in ["basic", "fgsm"] {
        let (set, name) = (format!("training.method={method}"), format!("name={method}"));
        let output = run_in(folder.path(), &["run", &smoke, "--set", &set, "--set", &name]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let compare = |out| ["compare", "runs/basic", "runs/fgsm", "--out", out];
    for _ in 0..2 {
        succeeds(folder.path(), &compare("both"));
    }
    assert!(folder.path().join("both/compare.html").is_file());
    // A comparison replaces only itself: not a run, a table that was edited, or a folder with other
    // files.
    refuses(folder.path(), &compare("runs/basic"), &["runs/basic", "is read"]);
    refuses(folder.path(), &compare("runs"), &["runs", "is read"]);
    let checkpoint = "runs/basic/checkpoints/last.safetensors";
    let evaluate = |out| ["evaluate", &smoke, "--checkpoint", checkpoint, "--out", out];
    refuses(folder.path(), &evaluate("runs/basic"), &["is read"]);
    refuses(folder.path(), &evaluate("runs/fgsm"), &["`run`", "runs/fgsm-evaluate"]);
    refuses(folder.path(), &evaluate("both"), &["`compare`"]);
    let table = folder.path().join("both/tables/scores.tex");
    let tex = std::fs::read_to_string(&table).unwrap();
    std::fs::write(&table, tex.clone() + "% mine").unwrap();
    refuses(folder.path(), &compare("both"), &["tables/scores.tex", "changed"]);
    std::fs::write(&table, tex).unwrap();
    std::fs::write(folder.path().join("both/notes.txt"), "mine").unwrap();
    refuses(folder.path(), &compare("both"), &["both", "notes.txt", "both-compare"]);
    std::fs::remove_file(folder.path().join("both/notes.txt")).unwrap();
    refuses(folder.path(), &["run", &smoke, "--overwrite", "--out", "both"], &["both", "holds no run"]);
    let pretrained = format!("model.pretrained={}", folder.path().join(checkpoint).display());
    let from_itself = ["run", &smoke, "--overwrite", "--out", "runs/basic", "--set", &pretrained];
    refuses(folder.path(), &from_itself, &[checkpoint, "is read"]);
    fails(folder.path(), &["compare", "runs/none", "--out", "both"], 3, &["runs/none"]);
}
