//! `robustseg sweep`, end to end on generated data: grids, failures, changes, interruption, Slurm.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{fails, files, generated, refuses, robustseg, run_in, succeeds};
use serde_json::Value;

const HEAD: &str = "name: grid\nbase: spec.yaml\nset: {evaluation: {limit: 1}}\naxes:\n";

/// A folder with generated data, its spec, and a sweep with these `axes`.
fn folder(axes: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 2);
    write(folder.path(), axes);
    folder
}

fn write(folder: &Path, axes: &str) {
    fs::write(folder.join("sweep.yaml"), format!("{HEAD}{axes}")).unwrap();
}

fn status(folder: &Path) -> Vec<(String, String)> {
    let output = run_in(folder, &["sweep", "sweep.yaml", "--status", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_owned();
    told["runs"].as_array().unwrap().iter().map(|run| (text(run, "name"), text(run, "state"))).collect()
}

fn states(folder: &Path) -> String {
    status(folder).into_iter().map(|(_, state)| state).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_sweep_runs_every_combination_and_the_same_command_does_the_rest() {
    let folder = folder("  training.method: [basic, fgsm]\n  seed: [0, 1]\n");
    let path = folder.path();
    assert_eq!(states(path), "waiting waiting waiting waiting");
    assert!(!path.join("runs").exists(), "a look changes nothing");
    let arguments = ["sweep", "sweep.yaml", "--jobs", "2"];
    let output = run_in(path, &arguments);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("4 runs, 4 done") && told.contains("every run is done"), "{told}");
    let comparison = fs::read(path.join("runs/grid/compare/comparison.json")).unwrap();
    let comparison: Value = serde_json::from_slice(&comparison).unwrap();
    let seeds: Vec<_> = comparison.as_array().unwrap().iter().map(|run| run["seed"].clone()).collect();
    assert_eq!(seeds, [0, 1, 0, 1]);
    let table = fs::read_to_string(path.join("runs/grid/compare/tables/seeds.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "two settings of two seeds: {table}");

    // A run of the same spec may come from elsewhere.
    fs::rename(path.join("runs/grid/basic-seed-1"), path.join("runs/elsewhere")).unwrap();
    assert_eq!(states(path), "done waiting done done");
    let spec = path.join("runs/elsewhere/spec.yaml");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("name: grid-basic-seed-1", "name: other")).unwrap();
    fs::rename(path.join("runs/elsewhere"), path.join("runs/grid/basic-seed-1")).unwrap();
    assert_eq!(states(path), "done done done done");

    // A sweep may grow, and finished runs stay unchanged.
    let log = |run: &str| fs::read(path.join("runs/grid").join(run).join("run.log")).unwrap();
    let before = log("fgsm-seed-1");
    fs::remove_file(path.join("runs/grid/basic-seed-0/report.html")).unwrap();
    write(path, "  training.method: [basic, fgsm, bim]\n  seed: [0, 1]\n");
    assert_eq!(states(path), "interrupted done done done waiting waiting");
    succeeds(path, &arguments);
    assert_eq!(log("fgsm-seed-1"), before);
    assert_eq!(states(path), "done done done done done done");
}

#[test]
fn a_failed_run_stops_no_other_and_is_tried_again() {
    let folder = folder("  training.learning_rate: [1e30, 0.01]\n");
    let path = folder.path();
    let parts = ["1 of 2 runs failed", "learning_rate-1e30", "tries them again"];
    fails(path, &["sweep", "sweep.yaml"], 4, &parts);
    assert_eq!(states(path), "failed done");
    let output = run_in(path, &["sweep", "sweep.yaml", "--status"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("failed with status 4: ") && told.contains("next: "), "{told}");
    assert!(path.join("runs/grid/compare/compare.html").is_file(), "a report of what is there");
    let outcome = || fs::read(path.join("runs/grid/sweep/outcomes/learning_rate-1e30.json")).unwrap();
    let before = outcome();
    fails(path, &["sweep", "sweep.yaml"], 4, &parts);
    assert_ne!(outcome(), before);
    // Failures of several kinds share no status.
    write(path, "  training.learning_rate: [1e30, 0.01]\n  data.train_split: [train, none]\n");
    let out = ["sweep", "sweep.yaml", "--out", "other"];
    fails(path, &out, 1, &["3 of 4 runs failed"]);
    // The error that two of them share stands there once.
    let output = run_in(path, &["sweep", "sweep.yaml", "--out", "other", "--status"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.matches(" failed with status ").count(), 2, "{told}");
    assert!(told.contains(" and 1 more failed with status 3: "), "{told}");
}

#[test]
fn a_changed_sweep_is_never_mixed_with_its_runs() {
    let folder = folder("  seed: [0, 1]\n");
    let path = folder.path();
    succeeds(path, &["sweep", "sweep.yaml"]);
    let refused = |axes: &str, parts: &[&str]| {
        write(path, axes);
        for arguments in [&["sweep", "sweep.yaml"][..], &["sweep", "sweep.yaml", "--on", "list"]] {
            refuses(path, arguments, parts);
        }
    };
    let other = ["seed-0 has begun with another spec", "training.epochs: 1 then, 2 now", "--out"];
    refused("  seed: [0, 1]\n  training.epochs: [2]\n", &["seed-0", "no longer has", "--update"]);
    let axes = "  run:\n    seed-0: {seed: 0, training: {epochs: 2}}\n    seed-1: {seed: 1}\n";
    refused(axes, &other);
    refuses(path, &["sweep", "sweep.yaml", "--update"], &other);
    refused("  seed: [1]\n", &["the run seed-0, which the sweep no longer has", "--update"]);
    // Another evaluation changes no weight.
    write(path, "  seed: [0, 1]\n");
    let limit = ["sweep", "sweep.yaml", "--set", "evaluation.limit=2"];
    refuses(path, &limit, &["evaluation.limit: 1 then, 2 now", "--update"]);
    let weights = || fs::read(path.join("runs/grid/seed-0/checkpoints/last.safetensors")).unwrap();
    let before = weights();
    succeeds(path, &[&limit[..], &["--update"]].concat());
    assert_eq!(weights(), before);
    let evaluation = fs::read(path.join("runs/grid/seed-0/evaluation.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&evaluation).unwrap()["images"], 2);
    // A single run and other results are no place for a sweep.
    refuses(path, &["sweep", "sweep.yaml", "--out", "runs/grid/seed-0"], &["single run"]);
    refuses(path, &["sweep", "sweep.yaml", "--out", "runs/grid/compare"], &["results of `compare`"]);
}

#[test]
fn wrong_sweeps_and_options_are_refused() {
    let folder = folder("  sed: [0, 1]\n");
    let path = folder.path();
    refuses(path, &["sweep", "sweep.yaml"], &["sweep.yaml:5:9", "unknown key `sed`"]);
    refuses(path, &["sweep", "none.yaml"], &["none.yaml", "no such file"]);
    refuses(path, &["run", "sweep.yaml"], &["sweep.yaml:4:1", "robustseg sweep"]);
    write(path, "  seed: [0, 1]\n");
    for (options, part) in [
        (&["--jobs", "0"][..], "--jobs"),
        (&["--dry-run"], "--on slurm"),
        (&["--", "--time=1"], "--on slurm"),
        (&["--on", "list", "--jobs", "2"], "--jobs"),
        (&["--on", "slurm", "--device", "cuda:0,cuda:1"], "several devices"),
        (&["--status", "--compare"], "--compare"),
        (&["--compare"], "no run is finished"),
    ] {
        refuses(path, &[&["sweep", "sweep.yaml"][..], options].concat(), &[part]);
    }
}

#[test]
fn an_interrupted_sweep_saves_its_runs_and_goes_on() {
    let folder = folder("  training.epochs: [60]\n  seed: [0, 1]\n");
    let path = folder.path();
    let mut child = robustseg(&["sweep", "sweep.yaml", "--jobs", "2"]).current_dir(path).spawn().unwrap();
    let start = Instant::now();
    let begun = |run: &str| {
        let events = path.join("runs/grid").join(run).join("events.jsonl");
        fs::read_to_string(events).is_ok_and(|text| text.contains("\"step\":3,"))
    };
    while !["epochs-60-seed-0", "epochs-60-seed-1"].into_iter().all(begun) {
        assert!(start.elapsed() < Duration::from_secs(60), "no step was done");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(states(path), "running running");
    // The second process finds nothing to do.
    fails(path, &["sweep", "sweep.yaml"], 1, &["0 of 2 runs are done; other processes"]);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(states(path), "interrupted interrupted");
    assert!(files(path).keys().any(|file| file.ends_with("checkpoints/resume.safetensors")));
    succeeds(path, &["sweep", "sweep.yaml", "--jobs", "2"]);
    assert_eq!(states(path), "done done");
    let provenance = fs::read(path.join("runs/grid/epochs-60-seed-0/provenance.json")).unwrap();
    let provenance: Value = serde_json::from_slice(&provenance).unwrap();
    assert_eq!(provenance["invocations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_list_has_the_command_of_each_open_run() {
    let folder = folder("  seed: [0, 1]\n");
    let path = folder.path();
    let list = || {
        let output = run_in(path, &["sweep", "sweep.yaml", "--on", "list"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = list();
    assert_eq!(commands.lines().count(), 2, "{commands}");
    let sh = |line: &str| Command::new("sh").args(["-c", line]).current_dir("/").output().unwrap();
    assert!(sh(commands.lines().nth(1).unwrap()).status.success());
    assert_eq!(states(path), "waiting done");
    assert_eq!(list().lines().collect::<Vec<_>>(), [commands.lines().next().unwrap()]);
}

/// Runs a sweep on programs that answer as Slurm's do: a job that waits forever.
fn slurm(path: &Path, rest: &[&str]) -> Output {
    let bin = path.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, text) in [
        ("sbatch", "#!/bin/sh\ncp \"$2\" submitted.sh; echo '12;here'\n"),
        ("squeue", "#!/bin/sh\necho '1 PD'\n"),
    ] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let arguments = [&["sweep", "sweep.yaml"][..], rest].concat();
    robustseg(&arguments).current_dir(path).env("PATH", search).output().unwrap()
}

#[test]
fn a_job_array_has_an_element_for_each_open_run_and_none_twice() {
    let folder = folder("  seed: [0, 1, 2]\n");
    let path = folder.path();
    let options =
        ["--on", "slurm", "--jobs", "2", "--device", "cpu", "--", "--partition=all", "--time", "1:00:00"];
    let dry = [&["--dry-run"][..], &options].concat();
    let script = String::from_utf8(slurm(path, &dry).stdout).unwrap();
    for part in [
        "#SBATCH --array=1-3%2\n",
        "#SBATCH --signal=USR1@120\n",
        "#SBATCH --requeue\n",
        "#SBATCH --partition=all\n#SBATCH --time 1:00:00\n",
        "\n2) run=(",
        "/sweep/specs/seed-1.yaml --out ",
        " --resume --device cpu) ;;\n",
        "scontrol requeue",
    ] {
        assert!(script.contains(part), "{part} is missing in {script}");
    }
    assert!(!path.join("submitted.sh").exists());
    let output = slurm(path, &options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let submitted = fs::read_to_string(path.join("submitted.sh")).unwrap();
    assert_eq!(submitted, script);
    assert!(Command::new("bash").args(["-n", "submitted.sh"]).current_dir(path).status().unwrap().success());
    let told = String::from_utf8(slurm(path, &["--status"]).stdout).unwrap();
    assert!(told.contains("queued (12_1)") && told.contains("1 queued, 2 waiting"), "{told}");
    // Slurm says that it has the first run alone.
    let again = String::from_utf8(slurm(path, &["--on", "slurm", "--dry-run"]).stdout).unwrap();
    assert!(again.contains("#SBATCH --array=2-3\n"), "{again}");
    // The element of a run is that run.
    let fake = "srun() { \"$@\"; }; scontrol() { :; }; SLURM_ARRAY_TASK_ID=3; source submitted.sh";
    let ran = Command::new("bash").args(["-c", fake]).current_dir(path).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(states(path), "waiting waiting done");
}
