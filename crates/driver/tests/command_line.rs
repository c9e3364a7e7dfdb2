//! The command line: usage, wrong specs, schema, completions, bench.

mod common;

use std::path::Path;

use common::{case, checkpoint, experiments, fails, robustseg, run_in, tiny};
use robustseg_models::{Network, NetworkConfig, PspNetConfig};
use serde_json::Value;

fn smoke() -> String {
    experiments().join("smoke.yaml").display().to_string()
}

/// Runs `check` on a spec with this text.
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
fn an_argument_is_taken_literally() {
    let folder = tempfile::tempdir().unwrap();
    for (argument, part) in [
        ("data.root=x #2", "x #2"),
        ("data.root=*", "/*"),
        ("data.root=a: b", "a: b"),
        ("data.manifest=m #2.yaml", "m #2.yaml"),
    ] {
        let spec = experiments().join("camvid_basic.yaml").display().to_string();
        fails(folder.path(), &["check", &spec, "--set", argument], 3, &[part]);
    }
    let output = run_in(folder.path(), &["check", &smoke(), "--set", "name=0042"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("plan of 0042 ("), "{printed}");
    fails(folder.path(), &["check", &smoke(), "--set", "training.epochs=1 # one"], 2, &["whole number"]);
}

#[test]
fn fractions_are_understood_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    case(folder.path());
    let arguments =
        ["attack", "--checkpoint", "model.safetensors", "--input", "case.safetensors", "--out", "out"];
    let run = |rest: &[&'static str]| [&arguments[..], rest].concat();
    let output = run_in(folder.path(), &run(&["--method", "bim", "--epsilon", "8/255", "--alpha=2/255"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("out/attack.json")).unwrap()).unwrap();
    assert_eq!(report["images"][0]["epsilon"].as_f64().unwrap() as f32, (8.0_f64 / 255.0) as f32);
    for wrong in ["8/0", "ten", "nan"] {
        fails(
            folder.path(),
            &run(&["--method", "fgsm", "--epsilon", wrong]),
            2,
            &["a fraction such as 8/255"],
        );
    }
    fails(folder.path(), &run(&["--method", "fgsm", "--epsilon", "-1"]), 2, &["epsilon"]);
    let output =
        run_in(folder.path(), &["check", &smoke(), "--set", "training.method={fgsm: {epsilon: 8/255}}"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&format!("epsilon: {}", 8.0 / 255.0)), "{printed}");
}

#[test]
fn a_check_refuses_what_a_run_would_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let wider = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() };
    let other = NetworkConfig { architecture: wider.into(), ..tiny() };
    let other = Network::new(&other, 1, &candle_core::Device::Cpu).unwrap();
    other.save(&folder.path().join("model.safetensors")).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("pickle.pth"), b"PK\x03\x04\0\0archive/data.pkl").unwrap();
    let whole = std::fs::read(path("model.safetensors")).unwrap();
    std::fs::write(path("half.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let weights = |name: &str| format!("model.pretrained={}", path(name).display());
    for (set, status, part) in [
        (weights("none.safetensors"), 3, "no such file"),
        (weights("pickle.pth"), 3, "torch.save"),
        (weights("half.safetensors"), 3, "truncated"),
        (weights("model.safetensors"), 3, "is no backbone of this model"),
        ("device=cuda:7".into(), 2, "cuda:7"),
        ("precision=tf32".into(), 2, "precision"),
        ("training.batch_size=1000000".into(), 2, "batch_size"),
    ] {
        let command = |name: &str| fails(folder.path(), &[name, &smoke(), "--set", &set], status, &[part]);
        command("check");
        assert!(!path("runs").exists());
        command("run");
        std::fs::remove_dir_all(path("runs")).unwrap_or_default();
    }
    fails(folder.path(), &["check", &smoke(), "--device", "cuda:7"], 2, &["cuda:7"]);
    // The run's directory is not free.
    std::fs::create_dir_all(path("runs/smoke")).unwrap();
    std::fs::write(path("runs/smoke/thesis.tex"), "x").unwrap();
    let output = run_in(folder.path(), &["check", &smoke(), "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plan["warnings"].to_string().contains("runs/smoke holds something"), "{plan}");
}

#[test]
fn the_environment_is_documented_and_used() {
    let here = Path::new(".");
    let help = String::from_utf8(run_in(here, &["--help"]).stdout).unwrap();
    for variable in [
        "ROBUSTSEG_DATA",
        "ROBUSTSEG_LOG",
        "RAYON_NUM_THREADS",
        "HF_HOME",
        "HF_TOKEN",
        "SSL_CERT_FILE",
        "NO_COLOR",
    ] {
        assert!(help.contains(variable), "{variable}: {help}");
    }
    let manifest = experiments().join("../data-manifests/camvid.yaml").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x").display().to_string();
    let commands: [&[&str]; 4] = [
        &["data", "check", &manifest],
        &["data", "fetch", &manifest],
        &["data", "prepare", &manifest, "--out", &out],
        &["data", "preview", &manifest, "--out", &out],
    ];
    for arguments in commands {
        fails(here, arguments, 2, &["--root", "ROBUSTSEG_DATA"]);
        // Nothing can be downloaded: the folder for all data is a file.
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let output = robustseg(arguments).env("ROBUSTSEG_DATA", &file).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("{}/", file.display())), "{arguments:?}: {error}");
        assert!(!output.status.success(), "{error}");
    }
    let output = robustseg(&["check", &smoke()]).env("ROBUSTSEG_LOG", "a=b=c").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("ROBUSTSEG_LOG is not a valid filter"));
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
