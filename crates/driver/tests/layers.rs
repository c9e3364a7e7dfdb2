//! Specs that build on others, and one spec with several seeds.

mod common;

use common::{experiments, fails, run_in};
use serde_json::Value;

#[test]
fn check_shows_what_each_layer_changes_and_an_error_names_the_layer_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let smoke = experiments().join("smoke.yaml");
    write(
        "low.yaml",
        &format!("base: {}\nmodel: {{width: 2}}\ntraining: {{method: bim}}\n", smoke.display()),
    );
    write("top.yaml", "name: top\nbase: low.yaml\nevaluation:\n  limit: 2\n");
    let output = run_in(folder.path(), &["check", "top.yaml", "--set", "training.epochs=3"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = format!(
        "  {}\n  low.yaml\n    model.width: 2 (was 4)\n    training.method: bim (was fast_newton)\n  top.yaml\n    \
         name: top\n    evaluation.limit: 2 (was 4)\n  --set training.epochs=3\n    training.epochs: 3 (was 1)\n",
        smoke.display()
    );
    assert!(told.contains(&expected), "{told}");
    let output = run_in(folder.path(), &["check", "top.yaml", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        told["layers"][1]["changes"][0],
        serde_json::json!({"key": "model.width", "value": "2", "was": "4"})
    );

    write("low.yaml", &format!("base: {}\nmodel:\n  width: 0\n", smoke.display()));
    fails(folder.path(), &["check", "top.yaml"], 2, &["low.yaml:3:10, a base of top.yaml: model.width"]);
    write("low.yaml", "base: top.yaml\n");
    fails(folder.path(), &["check", "top.yaml"], 2, &["low.yaml:1:7", "each other's bases"]);
    // A base is an input, which no result replaces.
    write("low.yaml", &format!("base: {}\n", smoke.display()));
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::rename(folder.path().join("low.yaml"), folder.path().join("out/low.yaml")).unwrap();
    write("top.yaml", "name: top\nbase: out/low.yaml\n");
    fails(folder.path(), &["run", "top.yaml", "--out", "out", "--overwrite"], 2, &["out"]);
}

#[test]
fn seeds_run_a_spec_once_each_into_one_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = experiments().join("smoke.yaml").display().to_string();
    let arguments = |rest: &[&'static str]| -> Vec<String> {
        let short = ["run", &smoke, "--seeds", "3..4", "--set", "evaluation.limit=1", "--out", "runs"];
        short.iter().chain(rest).map(ToString::to_string).collect()
    };
    let run = |rest: &[&'static str]| {
        let arguments = arguments(rest);
        run_in(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = run(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read(folder.path().join("runs").join(name)).unwrap();
    let comparison: Value = serde_json::from_slice(&read("compare/comparison.json")).unwrap();
    assert_eq!((&comparison[0]["seed"], &comparison[1]["seed"]), (&3.into(), &4.into()));
    let table = String::from_utf8(read("compare/tables/seeds.csv")).unwrap();
    assert_eq!(table.lines().count(), 2, "one setting of two seeds: {table}");
    assert!(folder.path().join("runs/compare/compare.html").is_file());
    let weights = |seed: u64| read(&format!("seed-{seed}/checkpoints/last.safetensors"));
    assert_ne!(weights(3), weights(4));

    // A second time needs a word, and what is finished stays unchanged.
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let log = read("seed-3/run.log");
    assert!(run(&["--resume"]).status.success());
    assert_eq!(read("seed-3/run.log"), log);

    let twice = ["run", &smoke, "--seeds", "0..1", "--set", "seed=3"];
    fails(folder.path(), &twice, 2, &["--seeds", "--set seed"]);
    fails(folder.path(), &["run", &smoke, "--seeds", "1..0"], 2, &["0..2"]);
    let into_a_run = ["run", &smoke, "--seeds", "0..1", "--out", "runs/seed-3"];
    fails(folder.path(), &into_a_run, 2, &["single run"]);
}
