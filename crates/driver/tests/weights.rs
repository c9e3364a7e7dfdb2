//! The weights that a training starts from, and those that it averages, under `AdamW` and a warm-up.

mod common;

use std::path::Path;

use common::{fails, files, generated, run_in};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_training_starts_from_the_whole_network_of_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    generated::write(folder.path(), 2);
    let done = |arguments: &[&str]| {
        let output = run_in(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    done(&["run", "spec.yaml", "--out", "first"]);
    // A rate of nearly zero leaves the weights where they start, up to running statistics.
    let from = "training.from=first/checkpoints/last.safetensors";
    let still = ["--set", from, "--set", "training.learning_rate=1e-30", "--set", "training.momentum=0"];
    done(&[&["run", "spec.yaml", "--out", "second"][..], &still].concat());
    let read = |run: &str| {
        let path = at(run).join("checkpoints/last.safetensors");
        robustseg_models::Network::load(&path, &candle_core::Device::Cpu).unwrap()
    };
    let (first, second) = (read("first"), read("second"));
    for (name, parameter) in first.parameters().iter().filter(|(_, parameter)| parameter.is_trainable()) {
        let values = |var: &candle_core::Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&parameter.var), values(&second.parameters()[name].var), "{name}");
    }
    let (former, checkpoint) =
        (json(&at("second/provenance.json")), at("first/checkpoints/last.safetensors"));
    let sha256 = robustseg_files::sha256(std::fs::read(&checkpoint).unwrap());
    assert_eq!(former["pretrained"]["sha256"], sha256);
    assert_eq!(former["identity"]["training.from"], sha256);
    assert_eq!(former["identity"]["model.pretrained"], "null");
    // A finished run resumes without the checkpoint.
    std::fs::rename(&checkpoint, at("moved.safetensors")).unwrap();
    done(&[&["run", "spec.yaml", "--out", "second", "--resume"][..], &still].concat());

    fails(
        folder.path(),
        &[&["run", "spec.yaml", "--out", "second", "--resume", "--set", "training.epochs=2"][..], &still]
            .concat(),
        2,
        &["training.epochs: 1 then, 2 now", "`from: second/checkpoints/last.safetensors` under `training`"],
    );

    let moved = "training.from=moved.safetensors";
    let start = |set: &str, status, parts: &[&str]| {
        let before = files(folder.path());
        fails(
            folder.path(),
            &["run", "spec.yaml", "--out", "none", "--set", moved, "--set", set],
            status,
            parts,
        );
        fails(folder.path(), &["check", "spec.yaml", "--set", moved, "--set", set], status, parts);
        assert!(files(folder.path()).into_keys().eq(before.into_keys()));
        assert!(!at("none").exists(), "a refused run leaves no folder");
    };
    start("model.width=8", 3, &["moved.safetensors", "its network is", "make `model` of the spec"]);
    std::fs::write(at("renamed.yaml"), generated::scenes().replace("name: steps", "name: stairs")).unwrap();
    let fewer = generated::scenes().replace("  - {name: steps, colour: [60, 110, 200]}\n", "");
    std::fs::write(at("fewer.yaml"), fewer).unwrap();
    for (manifest, out) in [("renamed.yaml", "third"), ("fewer.yaml", "fourth")] {
        let data = format!("data.manifest={manifest}");
        let others = ["run", "spec.yaml", "--out", out, "--set", moved, "--set", &data];
        let slow = ["--set", "training.learning_rate=1e-30"];
        let output = run_in(folder.path(), &[&others[..], &slow].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let part = "tensors taken; random, the classes are others: classifier.bias, classifier.weight";
        assert!(said.contains(part), "{said}");
        let third = read(out);
        for (name, parameter) in third.parameters().iter().filter(|(_, parameter)| parameter.is_trainable()) {
            let of_first = &second.parameters()[name];
            let values = |var: &candle_core::Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let same = values(&parameter.var) == values(&of_first.var);
            assert_eq!(same, !name.starts_with("classifier."), "{name}");
        }
    }
    std::fs::write(at("moved.safetensors"), "no checkpoint").unwrap();
    start("seed=0", 3, &["moved.safetensors"]);
}

#[test]
fn the_average_is_a_checkpoint_of_its_own_and_what_is_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    generated::write(folder.path(), 2);
    let sets = ["training.average={decay: 0.9}", "training.optimiser=adamw", "training.warm_up_epochs=0.5"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["run", "spec.yaml", "--out", "run"].into_iter().chain(sets).collect();
    let done = |arguments: &[&str]| {
        let output = run_in(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    done(&arguments);
    let evaluation = json(&at("run/evaluation.json"));
    assert_eq!(evaluation["weights"], "average");
    let average = std::fs::read(at("run/checkpoints/average.safetensors")).unwrap();
    assert_eq!(evaluation["checkpoint"], robustseg_files::sha256(&average));
    let last = std::fs::read(at("run/checkpoints/last.safetensors")).unwrap();
    assert!(average != last);
    // The warm-up takes one of the two steps.
    let events = std::fs::read_to_string(at("run/events.jsonl")).unwrap();
    let steps = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rates: Vec<f64> = steps
        .filter(|event| event["kind"] == "step")
        .map(|step| step["learning_rate"].as_f64().unwrap())
        .collect();
    assert_eq!(rates.len(), 2);
    assert!((rates[0] - 0.01).abs() < 1e-12, "{rates:?}");
    // A finished run evaluates again, and a new one leaves no average of the previous one.
    done(&[&arguments[..], &["--resume"]].concat());
    done(&["run", "spec.yaml", "--out", "run", "--overwrite"]);
    assert!(!at("run/checkpoints/average.safetensors").exists());
}
