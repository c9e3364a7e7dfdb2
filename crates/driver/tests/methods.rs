//! Every training method available in specs, end to end on generated data.

mod common;

use std::path::Path;

use common::generated::manifest;
use common::{case, run_in};
use robustseg_driver::spec::Spec;
use robustseg_training::MethodConfig;
use serde_json::Value;

const SPEC: &str = "
name: scenes
data: {manifest: scenes.yaml}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: basic
  adversarial_probability: 0.5
  adversarial_draw: exact
  epochs: 1
  batch_size: 2
  augmentation: {crop: 17}
evaluation:
  curves:
    - fgsm: {epsilons: [0, 0.03]}
  examples: 1
";

/// The names of the methods in the schema of specs.
fn names() -> Vec<String> {
    let schema: Value = serde_json::from_str(&Spec::schema().unwrap()).unwrap();
    let variants = schema["$defs"]["MethodConfig"]["oneOf"].as_array().unwrap();
    let name =
        |variant: &Value| variant["const"].as_str().or(variant["required"][0].as_str()).unwrap().to_owned();
    variants.iter().map(name).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_method_trains_and_leaves_a_checkpoint_that_every_command_takes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scenes.yaml"), manifest("scenes", [20, 28], 4, [4, 2])).unwrap();
    std::fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    case(folder.path());
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/ramp.jpg");
    let done = |arguments: &[&str]| {
        let output = run_in(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let names = names();
    assert_eq!(names.len(), MethodConfig::all().len(), "MethodConfig::all lacks some method");
    for name in names {
        let set = format!("training.method={name}");
        done(&["run", "spec.yaml", "--set", &set, "--out", &name]);
        let run = folder.path().join(&name);
        let timing = json(&run.join("timing.json"));
        assert_eq!(timing["method"], name);
        assert_eq!(timing["training"]["steps"], 2, "{name}");
        assert_eq!(timing["training"]["attacked"], if name == "basic" { 0 } else { 2 }, "{name}");
        let report = std::fs::read_to_string(run.join("report.html")).unwrap();
        assert!(report.contains("Training loss"), "{name}");

        let checkpoint = run.join("checkpoints/last.safetensors").display().to_string();
        let evaluated = done(&["evaluate", "spec.yaml", "--checkpoint", &checkpoint, "--json"]);
        let evaluation: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert_eq!(evaluation, json(&run.join("evaluation.json")), "{name}");
        let input = ["--method", "fgsm", "--input", "case.safetensors"];
        done(&[&["attack", "--checkpoint", &checkpoint, "--out", "attacked"][..], &input].concat());
        done(&["predict", "--checkpoint", &checkpoint, "--out", "predicted", picture]);
    }
}
