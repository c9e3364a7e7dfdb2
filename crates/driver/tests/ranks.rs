//! Runs of several processes, which `mpirun` starts. Each has a time limit, because a lost process
//! must never leave the others waiting. Skipped with a line where there is no `mpirun`.

#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::generated::tiny;
use serde_json::Value;

/// Twelve steps in six epochs, half of the samples attacked.
const SPEC: &str = "name: short
data: {manifest: tiny.yaml}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: fgsm
  epochs: 6
  batch_size: 4
  validate_every: 2
  augmentation: {crop: 24}
  checkpoint_every: 3
  monitor: {samples: 2, steps: 2}
evaluation:
  weights: best
  curves:
    - fgsm: {epsilons: [0, 0.02]}
    - bim: {alpha: 0.01, steps: 2, epsilons: [0, 0.02]}
  examples: 1
";

/// The longest that anything here may take, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder with a spec, its manifest, and the runs.
struct Runs(tempfile::TempDir);

impl Runs {
    /// `None` without `mpirun`.
    fn new() -> Option<Self> {
        if Command::new("mpirun").arg("--version").output().is_err() {
            eprintln!("skipped: there is no mpirun");
            return None;
        }
        let runs = Self(tempfile::tempdir().unwrap());
        fs::write(runs.path("tiny.yaml"), tiny()).unwrap();
        fs::write(runs.path("short.yaml"), SPEC).unwrap();
        Some(runs)
    }

    fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(file)
    }

    /// Starts `size` processes with the arguments that `of_rank` gives each.
    fn start(&self, size: usize, of_rank: impl Fn(usize) -> Vec<String>) -> Child {
        let mut command = Command::new("mpirun");
        let version = Command::new("mpirun").arg("--version").output().unwrap();
        if version.stdout.starts_with(b"mpirun (Open MPI)") {
            command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--quiet"]);
        }
        for rank in 0..size {
            command.args((rank > 0).then_some(":")).args(["-n", "1"]).args(of_rank(rank));
        }
        command.env("RAYON_NUM_THREADS", "1").env_remove("ROBUSTSEG_DATA").env_remove("ROBUSTSEG_LOG");
        command.env_remove("RUST_BACKTRACE").current_dir(self.0.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The program with the arguments of a run in the directory `out`.
    fn run(out: &str, more: &[&str]) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_robustseg");
        let arguments = [program, "run", "short.yaml", "--distributed", "--out", out];
        arguments.iter().chain(more).map(ToString::to_string).collect()
    }

    /// Runs `size` processes in the directory `out`.
    fn finish(&self, size: usize, out: &str, more: &[&str]) -> Output {
        ended(self.start(size, |_| Self::run(out, more)))
    }

    /// Requires that [`Runs::finish`] succeeds.
    fn succeed(&self, size: usize, out: &str, more: &[&str]) {
        let output = self.finish(size, out, more);
        assert!(output.status.success(), "{}", error(&output));
    }

    fn events(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the run in `out` has done `steps` steps.
    fn wait_for_step(&self, child: &mut Child, out: &str, steps: u64) {
        let start = Instant::now();
        let done = |event: &Value| event["kind"] == "step" && event["step"] == steps;
        while !self.events(out).iter().any(done) {
            assert!(child.try_wait().unwrap().is_none(), "the run is over already");
            assert!(start.elapsed() < LIMIT, "the run hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn losses(&self, out: &str) -> Vec<f64> {
        let steps = self.events(out).into_iter().filter(|event| event["kind"] == "step");
        steps.map(|event| event["loss"].as_f64().unwrap()).collect()
    }

    fn evaluation(&self, out: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(out).join("evaluation.json")).unwrap()).unwrap()
    }

    /// The checkpoints of the run in `out`, all but the state with its times.
    fn weights(&self, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = common::files(&self.path(out).join("checkpoints"));
        files.retain(|path, _| !path.file_name().unwrap().to_string_lossy().starts_with("resume."));
        files.into_iter().map(|(path, bytes)| (path.file_name().unwrap().into(), bytes)).collect()
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The output of `child`, which has to end in time.
fn ended(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("the processes hang: {}", error(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// The processes of ranks that `mpirun` started.
fn ranks(mpirun: &Child) -> Vec<String> {
    let parent = mpirun.id().to_string();
    let children = Command::new("pgrep").args(["-P", &parent, "robustseg"]).output().unwrap().stdout;
    String::from_utf8_lossy(&children).lines().map(str::to_owned).collect()
}

fn send(signal: &str, process: &str) {
    assert!(Command::new("kill").args(["-s", signal, process]).status().unwrap().success());
}

/// Requires exactly one error of the program, with all of `parts`.
fn has_one_error(output: &Output, status: i32, parts: &[&str]) {
    let text = error(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.matches("robustseg: ").count(), 1, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn ranks_learn_and_score_like_one_process_and_resume_on_another_number() {
    let Some(runs) = Runs::new() else { return };
    runs.succeed(1, "one", &[]);
    let expected = runs.losses("one");
    for size in [2, 4] {
        let out = size.to_string();
        runs.succeed(size, &out, &[]);
        let losses = runs.losses(&out);
        assert_eq!(losses.len(), expected.len());
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!((loss - expected).abs() < 1e-4 * expected, "{size} ranks: {loss}, not {expected}");
        }
    }
    // The same evaluation of the same weights by one process.
    let best = "2/checkpoints/best.safetensors";
    let arguments = ["evaluate", "--checkpoint", best, "short.yaml", "--out", "alone"];
    common::succeeds(&runs.path(""), &arguments);
    let (ours, alone) = (runs.evaluation("2"), runs.evaluation("alone"));
    assert_eq!((&ours["clean"], &ours["curves"]), (&alone["clean"], &alone["curves"]));

    // A state of two ranks, saved on request, resumes on two, one and four.
    let mut child = runs.start(2, |_| Runs::run("stopped", &[]));
    runs.wait_for_step(&mut child, "stopped", 4);
    send("USR1", &child.id().to_string());
    has_one_error(&ended(child), 5, &["--resume"]);
    for size in [1, 4, 2] {
        let out = format!("resumed{size}");
        let copied = Command::new("cp").arg("-r").args([runs.path("stopped"), runs.path(&out)]).status();
        assert!(copied.unwrap().success());
        runs.succeed(size, &out, &["--resume"]);
        let losses = runs.losses(&out);
        assert_eq!(losses.len(), expected.len());
        for (loss, expected) in losses.iter().zip(&expected) {
            assert!((loss - expected).abs() < 1e-4 * expected, "{size} ranks: {loss}, not {expected}");
        }
    }
    assert!(runs.weights("resumed2") == runs.weights("2"), "two ranks resume bit by bit");
    assert_eq!(runs.evaluation("resumed2"), runs.evaluation("2"));
}

#[test]
fn a_killed_rank_ends_the_others_and_the_run_resumes() {
    let Some(runs) = Runs::new() else { return };
    runs.succeed(2, "whole", &[]);
    let mut child = runs.start(2, |_| Runs::run("killed", &[]));
    runs.wait_for_step(&mut child, "killed", 4);
    let start = Instant::now();
    send("KILL", ranks(&child).last().expect("a rank"));
    let output = ended(child);
    assert!(!output.status.success(), "{}", error(&output));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    runs.succeed(2, "killed", &["--resume"]);
    assert!(runs.weights("killed") == runs.weights("whole"));
    assert_eq!(runs.evaluation("killed"), runs.evaluation("whole"));
}

#[test]
fn a_repeated_request_to_end_saves_the_state() {
    let Some(runs) = Runs::new() else { return };
    let more = ["--set", "training.epochs=200"];
    let mut child = runs.start(2, |_| Runs::run("out", &more));
    runs.wait_for_step(&mut child, "out", 2);
    // To the ranks: what mpirun makes of it differs between launchers.
    for rank in ranks(&child) {
        send("TERM", &rank);
        send("TERM", &rank);
    }
    has_one_error(&ended(child), 5, &["the state is saved"]);
    assert!(runs.path("out/checkpoints/resume.safetensors").exists());
}

#[test]
fn ranks_that_differ_are_refused_at_the_start() {
    let Some(runs) = Runs::new() else { return };
    let with = |set: &'static str| {
        move |rank| if rank == 0 { Runs::run("out", &[]) } else { Runs::run("out", &["--set", set]) }
    };
    let refused = |of_rank: &dyn Fn(usize) -> Vec<String>, status, parts: &[&str]| {
        has_one_error(&ended(runs.start(2, of_rank)), status, parts);
        assert!(!runs.path("out/events.jsonl").exists());
    };
    refused(
        &with("training.learning_rate=0.5"),
        2,
        &["process 1 of 2 has another spec", "learning_rate: 0.5"],
    );
    fs::write(runs.path("other.yaml"), tiny().replace("seed: 1", "seed: 2")).unwrap();
    refused(&with("data.manifest=other.yaml"), 2, &["process 1 of 2 has another spec"]);
    // One process cannot read what it was given.
    refused(&with("data.manifest=missing.yaml"), 3, &["process 1 of 2", "missing.yaml"]);
    refused(&with("training.epoch=3"), 2, &["process 1 of 2", "epochs"]);
    refused(&|_| Runs::run("out", &["--set", "training.batch_size=3"]), 2, &["batch_size", "2 processes"]);
    refused(&|_| Runs::run("out", &["--set", "training.epochs=0"]), 2, &["epochs"]);
}

#[test]
fn a_lack_of_memory_in_one_rank_ends_all() {
    let Some(runs) = Runs::new() else { return };
    let start = Instant::now();
    let output = ended(runs.start(2, |rank| {
        let run = Runs::run("out", &["--set", "model.width=64", "--set", "training.batch_size=8"]);
        if rank == 0 {
            return run;
        }
        // Enough for MPI, but not for the network.
        let limited = ["sh", "-c", "ulimit -v 500000; exec \"$@\"", "sh"].map(String::from);
        limited.into_iter().chain(run).collect()
    }));
    assert_eq!(output.status.code(), Some(4), "{}", error(&output));
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn processes_that_nothing_connects_are_refused() {
    let Some(runs) = Runs::new() else { return };
    for (variable, value, parts) in [
        ("WORLD_SIZE", "2", ["2 processes", "mpirun"]),
        ("ROBUSTSEG_MPI", "libnothing.so", ["no MPI is found", "libnothing.so"]),
    ] {
        let mut alone = common::robustseg(&["run", "short.yaml", "--distributed", "--out", "out"]);
        let output = alone.current_dir(runs.path("")).env(variable, value).output().unwrap();
        has_one_error(&output, 2, &parts);
    }
    assert!(!runs.path("out").exists());
}
