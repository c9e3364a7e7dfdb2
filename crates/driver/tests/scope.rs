//! What an evaluation records about itself: the number of images, the weights, the checkpoint.

mod common;

use std::path::Path;

use candle_core::Device;
use common::{experiments, fails, run_in};
use robustseg_files::sha256;
use robustseg_models::Network;
use serde_json::{Value, json};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run_in(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn results_say_how_many_images_of_how_many_and_of_which_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = experiments().join("smoke.yaml").display().to_string();
    let printed = done(folder.path(), &["run", &smoke]);
    assert!(printed.contains("4 of 100 images of split val, weights: last"), "{printed}");
    let run = folder.path().join("runs/smoke");
    let evaluation = json(&run.join("evaluation.json"));
    assert_eq!((&evaluation["images"], &evaluation["split_images"]), (&json!(4), &json!(100)));
    assert_eq!((&evaluation["split"], &evaluation["weights"]), (&json!("val"), &json!("last")));
    assert_eq!(evaluation["classes"][1], "upright stripes");
    let checkpoint = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    assert_eq!(evaluation["checkpoint"], sha256(&checkpoint));
    assert!(evaluation.get("selected_on_evaluated_split").is_none());
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("4 of 100 images of split val of synthetic"));
    assert!(std::fs::read_to_string(run.join("tables/scores.tex")).unwrap().contains("4 of 100 images"));
}

#[test]
fn the_spec_says_which_weights_are_evaluated_and_a_resumed_run_takes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = experiments().join("smoke.yaml").display().to_string();
    let run = ["run", &smoke, "--set", "evaluation.weights=best", "--out", "run"];
    let printed = done(folder.path(), &run);
    assert!(printed.contains("weights: best") && printed.contains("selection on the test data"), "{printed}");
    let path = |file: &str| folder.path().join("run").join(file);
    // The best weights of all validations. The last ones now differ.
    let best = path("checkpoints/best.safetensors");
    let config = Network::load(&best, &Device::Cpu).unwrap().config().clone();
    Network::new(&config, 9, &Device::Cpu).unwrap().save(&best).unwrap();
    let first = json(&path("evaluation.json"));
    std::fs::remove_file(path("evaluation.json")).unwrap();
    done(folder.path(), &[&run[..], &["--resume"]].concat());
    let evaluation = json(&path("evaluation.json"));
    assert_ne!(evaluation["clean"], first["clean"]);
    assert_eq!(evaluation["checkpoint"], sha256(std::fs::read(&best).unwrap()));
    assert_eq!(evaluation["selected_on_evaluated_split"], true);
    assert!(std::fs::read_to_string(path("report.html")).unwrap().contains("selection on the test data"));

    // The same as in a separate evaluation of that checkpoint. On another split there was no
    // selection.
    let best = best.display().to_string();
    let evaluate = ["evaluate", &smoke, "--checkpoint", &best, "--json"];
    let alone: Value = serde_json::from_str(&done(folder.path(), &evaluate)).unwrap();
    assert_eq!(alone, evaluation);
    let test = [&evaluate[..], &["--set", "evaluation.split=test"]].concat();
    let test: Value = serde_json::from_str(&done(folder.path(), &test)).unwrap();
    assert_eq!((&test["split"], &test["weights"]), (&json!("test"), &json!("best")));
    assert!(test.get("selected_on_evaluated_split").is_none());
}

#[test]
fn a_finished_training_whose_last_checkpoint_is_gone_is_still_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = experiments().join("smoke.yaml").display().to_string();
    let run = ["run", &smoke, "--out", "run"];
    done(folder.path(), &run);
    let path = |file: &str| folder.path().join("run").join(file);
    let first = json(&path("evaluation.json"));
    for file in ["evaluation.json", "checkpoints/last.safetensors"] {
        std::fs::remove_file(path(file)).unwrap();
    }
    done(folder.path(), &[&run[..], &["--resume"]].concat());
    assert_eq!(json(&path("evaluation.json")), first);
}

#[test]
fn examples_of_other_checkpoints_are_scored_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = experiments().join("smoke.yaml").display().to_string();
    done(folder.path(), &["run", &smoke]);
    let last = folder.path().join("runs/smoke/checkpoints/last.safetensors");
    let trained = Network::load(&last, &Device::Cpu).unwrap();
    let other = folder.path().join("other.safetensors");
    Network::new(trained.config(), 9, &Device::Cpu).unwrap().save(&other).unwrap();
    let (last, twin) = (last.display().to_string(), format!("twin={}", last.display()));
    let evaluate = ["evaluate", &smoke, "--checkpoint", &last, "--source", "other=other.safetensors"];
    let out = |name: &'static str| ["--source", &twin, "--out", name].map(str::to_owned).to_vec();
    let with = |more: Vec<String>| {
        let all: Vec<String> = evaluate.iter().map(|&part| part.into()).chain(more).collect();
        done(folder.path(), &all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let printed = with(out("transfer"));
    assert!(printed.contains("bim from other") && printed.contains("fgsm from twin"), "{printed}");
    let evaluation = json(&folder.path().join("transfer/evaluation.json"));
    let own = json(&folder.path().join("runs/smoke/evaluation.json"));
    let curves = evaluation["curves"].as_array().unwrap();
    let sources: Vec<&Value> = curves.iter().map(|curve| &curve["source"]).collect();
    assert_eq!(
        sources,
        [&Value::Null, &Value::Null, &json!("other"), &json!("other"), &json!("twin"), &json!("twin")]
    );
    // Its own examples transfer whole, and the other network's do not change them.
    for curve in 0..2 {
        assert_eq!(curves[curve], own["curves"][curve]);
        assert_eq!(curves[4 + curve]["points"], own["curves"][curve]["points"]);
    }
    assert_eq!(evaluation["sources"][0]["name"], "other");
    assert_eq!(evaluation["sources"][0]["checkpoint"], sha256(std::fs::read(&other).unwrap()));
    assert_eq!(evaluation["sources"][0]["training"], "unknown");
    assert_eq!(evaluation["sources"][1]["checkpoint"], evaluation["checkpoint"]);
    let report = std::fs::read_to_string(folder.path().join("transfer/report.html")).unwrap();
    assert!(report.contains("BIM, alpha") && report.contains(", from other"), "the report names sources");
    assert!(report.contains("other (method, seed and step unknown); twin (method fast_newton"));
    // The spec in the folder is complete, and another network under the same name is another result.
    with(out("transfer"));
    Network::new(trained.config(), 8, &Device::Cpu).unwrap().save(&other).unwrap();
    let again = [&evaluate[..], &["--source", &twin, "--out", "transfer"]].concat();
    fails(folder.path(), &again, 2, &["evaluation.sources.other", "--out"]);
    let both = format!("other={last}");
    let both = [&evaluate[..], &["--source", &both, "--out", "both"]].concat();
    fails(folder.path(), &both, 2, &["--source other", "other.safetensors", "rename one of them"]);
    for (source, status, part) in [
        ("other.safetensors", 2, "NAME=FILE"),
        ("other=missing.safetensors", 3, "missing.safetensors"),
        ("other=other.safetensors", 2, "--out takes a folder"),
    ] {
        let arguments =
            ["evaluate", &smoke, "--checkpoint", &last, "--source", source, "--out", "other.safetensors"];
        fails(folder.path(), &arguments, status, &[part]);
    }
}
