//! Runs of several processes, which `mpirun` starts. Each has a time limit, because a lost process
//! must never leave the others waiting.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::generated::tiny;

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
pub const LIMIT: Duration = Duration::from_secs(60);

/// A folder with a spec, its manifest, and the runs.
pub struct Runs {
    folder: tempfile::TempDir,
    /// Further variables of the processes' environment.
    pub environment: BTreeMap<&'static str, &'static str>,
}

impl Runs {
    /// `None` without `mpirun`.
    pub fn new() -> Option<Self> {
        if Command::new("mpirun").arg("--version").output().is_err() {
            eprintln!("skipped: there is no mpirun");
            return None;
        }
        let runs = Self { folder: tempfile::tempdir().unwrap(), environment: BTreeMap::new() };
        fs::write(runs.path("tiny.yaml"), tiny()).unwrap();
        fs::write(runs.path("short.yaml"), SPEC).unwrap();
        Some(runs)
    }

    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Starts `size` processes with the arguments that `of_rank` gives each.
    pub fn start(&self, size: usize, of_rank: impl Fn(usize) -> Vec<String>) -> Child {
        let mut command = Command::new("mpirun");
        let version = Command::new("mpirun").arg("--version").output().unwrap();
        if version.stdout.starts_with(b"mpirun (Open MPI)") {
            command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--quiet"]);
        }
        for rank in 0..size {
            command.args((rank > 0).then_some(":")).args(["-n", "1"]).args(of_rank(rank));
        }
        command.env("RAYON_NUM_THREADS", "1").env_remove("ROBUSTSEG_DATA").env_remove("ROBUSTSEG_LOG");
        command.envs(&self.environment).env_remove("RUST_BACKTRACE").current_dir(self.folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The program with the arguments of a run in the directory `out`.
    pub fn run(out: &str, more: &[&str]) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_robustseg");
        let arguments = [program, "run", "short.yaml", "--distributed", "--out", out];
        arguments.iter().chain(more).map(ToString::to_string).collect()
    }

    /// Runs `size` processes in the directory `out`.
    pub fn finish(&self, size: usize, out: &str, more: &[&str]) -> Output {
        ended(self.start(size, |_| Self::run(out, more)))
    }

    /// Requires that [`Runs::finish`] succeeds.
    pub fn succeed(&self, size: usize, out: &str, more: &[&str]) {
        let output = self.finish(size, out, more);
        assert!(output.status.success(), "{}", error(&output));
    }

    pub fn events(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the run in `out` has done `steps` steps.
    pub fn wait_for_step(&self, child: &mut Child, out: &str, steps: u64) {
        let start = Instant::now();
        let done = |event: &Value| event["kind"] == "step" && event["step"] == steps;
        while !self.events(out).iter().any(done) {
            assert!(child.try_wait().unwrap().is_none(), "the run is over already");
            assert!(start.elapsed() < LIMIT, "the run hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn losses(&self, out: &str) -> Vec<f64> {
        let steps = self.events(out).into_iter().filter(|event| event["kind"] == "step");
        steps.map(|event| event["loss"].as_f64().unwrap()).collect()
    }

    pub fn evaluation(&self, out: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(out).join("evaluation.json")).unwrap()).unwrap()
    }

    /// The checkpoints of the run in `out`, all but the state with its times.
    pub fn weights(&self, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = super::files(&self.path(out).join("checkpoints"));
        files.retain(|path, _| !path.file_name().unwrap().to_string_lossy().starts_with("resume."));
        files.into_iter().map(|(path, bytes)| (path.file_name().unwrap().into(), bytes)).collect()
    }
}

pub fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The output of `child`, which has to end in time.
pub fn ended(mut child: Child) -> Output {
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
