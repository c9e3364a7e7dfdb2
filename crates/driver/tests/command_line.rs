//! The command line itself: usage, specs that are wrong, schema, completions, bench.

mod common;

use std::path::Path;

use common::{experiments, fails, run_in};
use serde_json::Value;

fn smoke() -> String {
    experiments().join("smoke.yaml").display().to_string()
}

/// `check` of a spec with this text.
fn check(text: &str, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spec.yaml"), text).unwrap();
    for command in ["check", "run"] {
        fails(folder.path(), &[command, "spec.yaml"], 2, parts);
    }
    assert!(!folder.path().join("runs").exists());
}

const HEAD: &str = "name: x\ndata: {manifest: m.yaml}\n";

#[test]
fn a_wrong_command_line_is_refused() {
    let here = Path::new(".");
    fails(here, &["trian", "x.yaml"], 2, &["trian"]);
    fails(here, &["run"], 2, &["<SPEC>"]);
    fails(here, &["run", &smoke(), "--device", "tpu"], 2, &["auto, cpu, cuda"]);
    fails(here, &["check", "none.yaml"], 2, &["none.yaml", "no such file"]);
    fails(here, &["predict", "--checkpoint", "x", "--out", "y"], 2, &["<IMAGES>"]);
}

#[test]
fn wrong_specs_are_refused_with_key_line_and_advice() {
    check(
        &(HEAD.to_owned() + "training:\n  method: basic\n  epoch: 3\n"),
        &["spec.yaml:5:3", "training: unknown key `epoch`", "did you mean `epochs`?"],
    );
    check(
        &(HEAD.to_owned() + "training:\n  method: basic\n  epochs: ten\n"),
        &["spec.yaml:5:11", "training.epochs", "found string \"ten\""],
    );
    check(
        &(HEAD.to_owned() + "training:\n  method: basic\n  epochs: 1\n  dropout: 1.5\n"),
        &["spec.yaml:6:12", "training.dropout", "1.5", "below 1"],
    );
    check(
        &(HEAD.to_owned() + "training:\n  method:\n    fgsm:\n      epsilon: 8\n  epochs: 1\n"),
        &["spec.yaml:6:16", "training.method.fgsm.epsilon", "did you mean 8/255"],
    );
    check(&(HEAD.to_owned() + "training: {\n"), &["spec.yaml:"]);
    check(&(HEAD.to_owned() + "name: y\n"), &["spec.yaml:3:1", "name"]);
}

#[test]
fn wrong_overrides_are_refused_by_name() {
    let here = Path::new(".");
    for (argument, parts) in [
        ("training.epohcs=3", ["unknown key `epohcs`", "did you mean `epochs`?"]),
        ("training.momentum=2", ["training.momentum", "below 1"]),
        ("training.momentum", ["training.momentum", "key.path=value"]),
    ] {
        fails(here, &["check", &smoke(), "--set", argument], 2, &[&parts[..], &["--set"]].concat());
    }
}

#[test]
fn the_schema_is_json_and_completions_complete() {
    let here = Path::new(".");
    let schema: Value = serde_json::from_slice(&run_in(here, &["schema"]).stdout).unwrap();
    assert_eq!(schema["title"], "Spec");
    let script = run_in(here, &["completions", "bash"]).stdout;
    assert!(String::from_utf8(script).unwrap().contains("robustseg"));
}

#[test]
fn bench_times_the_methods() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "--layers", "1,1,1,1", "--width", "4", "--size", "41", "--steps", "2"];
    let arguments = [&arguments[..], &["--methods", "basic,bim", "--json", "bench.json"]].concat();
    let output = run_in(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("bench.json")).unwrap()).unwrap();
    assert_eq!(results["config"]["batch"], 2);
    assert_eq!(results["additional_time_percent"]["basic"], 0.0);
    for method in ["basic", "bim"] {
        let step = results["step_s"][method].as_f64().unwrap();
        let rate = results["images_per_s"][method].as_f64().unwrap();
        assert!((rate * step - 2.0).abs() < 1e-9);
        let split = results["split_s"][method].as_object().unwrap();
        assert_eq!(split["attack"].as_f64().unwrap() > 1e-4, method == "bim");
        assert!(split["forward"].as_f64().unwrap() > 0.0 && split["backward"].as_f64().unwrap() > 0.0);
    }
    for (wrong, part) in
        [(["--methods", "pgd"], "fast_newton"), (["--layers", "3,4"], "four"), (["--size", "0"], "--size")]
    {
        fails(folder.path(), &[&["bench"], &wrong[..]].concat(), 2, &[part]);
    }
    fails(folder.path(), &["bench", "--batch", "0"], 2, &["batch_size"]);
}
