//! A run of half a second on generated data: started, killed, resumed, and compared with an
//! undisturbed run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use robustseg_driver::pages::write_report;
use robustseg_driver::run_directory::RunDirectory;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::common::generated::tiny;
use crate::common::robustseg;

/// Twelve steps in three epochs. States are saved in the middle and at the end of epochs.
const SPEC: &str = "name: short
data: {manifest: tiny.yaml}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: random_fgsm
  epochs: 3
  batch_size: 2
  augmentation: {crop: 24}
  checkpoint_every: 2
evaluation:
  curves:
    - fgsm: {epsilons: [0, 0.02]}
    - bim: {alpha: 0.01, steps: 2, epsilons: [0, 0.02]}
  examples: 1
";

/// A folder with a spec, its manifest, and the runs.
pub struct ShortRun {
    folder: tempfile::TempDir,
    set: Vec<String>,
}

impl ShortRun {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.yaml"), tiny()).unwrap();
        fs::write(folder.path().join("short.yaml"), SPEC).unwrap();
        Self { folder, set: Vec::new() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The same with other values in its spec.
    pub fn with(set: &[&str]) -> Self {
        Self { set: set.iter().flat_map(|set| ["--set".into(), set.to_string()]).collect(), ..Self::new() }
    }

    /// The arguments for the run in the directory `out`, from its start or from its saved state if
    /// there is one.
    pub fn arguments(&self, out: &str) -> Vec<String> {
        let run = ["run", "short.yaml", "--resume", "--out", out].map(String::from);
        run.into_iter().chain(self.set.iter().cloned()).collect()
    }

    /// The run in the directory `out`.
    pub fn command(&self, out: &str) -> Command {
        let arguments = self.arguments(out);
        let mut command = robustseg(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.current_dir(self.folder.path());
        command
    }

    /// The run in the directory `out`, started by a shell command in which `$0` is the program and
    /// `"$@"` its arguments.
    pub fn shell(&self, line: &str, out: &str) -> Command {
        let mut command = under_shell(line, &self.arguments(out));
        command.current_dir(self.folder.path());
        command
    }

    /// Starts the run and discards its standard error.
    pub fn start(&self, out: &str) -> Child {
        self.command(out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs to completion.
    pub fn finish(&self, out: &str) -> ExitStatus {
        let output = self.command(out).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.status
    }

    /// Starts the run and kills it as soon as `now` returns true. Returns whether that happened
    /// before the run ended.
    pub fn kill_when(&self, out: &str, now: impl Fn() -> bool) -> bool {
        let mut child = self.start(out);
        let start = Instant::now();
        let killed = loop {
            if now() {
                child.kill().unwrap();
                break true;
            }
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "the run hangs");
        };
        child.wait().unwrap();
        killed
    }

    /// The events of the run so far, without an incomplete last line.
    pub fn events(&self, out: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(out).join("events.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether an event of this kind and step is in the log.
    pub fn happened(&self, out: &str, kind: &str, step: u64) -> bool {
        self.events(out).iter().any(|event| event["kind"] == kind && event["step"] == step)
    }

    /// All files that a finished run leaves, without times and commands. The report is made again
    /// from the other files and must not change, so its content needs no separate comparison.
    pub fn results(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let path = self.path(out);
        let report = fs::read(path.join("report.html")).unwrap();
        write_report(&RunDirectory::lock(&path).unwrap()).unwrap();
        assert!(report == fs::read(path.join("report.html")).unwrap(), "the report is of other files");
        let mut files = BTreeMap::new();
        collect(&path, "", &mut files);
        // The record of written files. It contains hashes of times, among others.
        files.remove(".robustseg.jsonl").unwrap();
        files.remove("report.html").unwrap();
        // The log contains times and every start.
        files.remove("run.log");
        // Copies of the events, with times.
        files.remove("tensorboard/events.out.tfevents.robustseg").unwrap();
        files.remove("tables/scalars.csv").unwrap();
        for (name, bytes) in &mut files {
            match name.as_str() {
                "events.jsonl" => *bytes = steps(bytes).into_bytes(),
                "provenance.json" => edit(bytes, |value| value["invocations"] = Value::Null),
                "timing.json" => edit(bytes, |value| {
                    let counts = ["steps", "images", "attacked"].map(|key| value["training"][key].clone());
                    *value = json!(counts);
                }),
                "checkpoints/resume.safetensors" | "checkpoints/resume.former.safetensors" => {
                    *bytes = timeless(bytes);
                }
                _ => {}
            }
        }
        files
    }

    /// Requires that a finished run left the same results as another.
    pub fn assert_equal(&self, out: &str, expected: &BTreeMap<String, Vec<u8>>, what: &str) {
        let found = self.results(out);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(expected), "{what}: other files");
        for (name, bytes) in &found {
            assert!(*bytes == expected[name], "{what}: {name} differs");
        }
    }
}

/// The program with `arguments`, started by a shell command in which `$0` is the program and `"$@"`
/// its arguments.
pub fn under_shell(line: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = robustseg(&[]);
    let program = command.get_program().to_owned();
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = Command::new("sh");
    command.args(["-euc", line]).arg(program).args(arguments);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The status and standard error of a command that must report its failure in one short paragraph.
pub fn failure(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let told = error.lines().filter(|line| line.starts_with("robustseg: ")).count();
    assert!(told <= 1 && !error.contains("backtrace") && !error.contains("thread '"), "{error}");
    (output.status.code(), error)
}

/// Requires that a command ends with `status` and a message that contains all of `parts`.
pub fn fails(command: Command, status: i32, parts: &[&str]) {
    let (found, error) = failure(command);
    for part in parts {
        assert!(error.contains(part), "does not say {part:?}:\n{error}");
    }
    assert_eq!(found, Some(status), "{error}");
}

/// The files below `folder`, by their relative paths.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

fn edit(bytes: &mut Vec<u8>, change: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    *bytes = value.to_string().into_bytes();
}

/// The steps and validations of a log, without times. Every line must be complete.
fn steps(log: &[u8]) -> String {
    let mut text = String::new();
    for line in std::str::from_utf8(log).unwrap().lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["kind"] == "step" || event["kind"] == "validation" {
            event["seconds"] = Value::Null;
            event["time_s"] = Value::Null;
            event["wall_time"] = Value::Null;
            text += &format!("{event}\n");
        }
    }
    text
}

/// Weights, statistics, velocities and state of a resume file, without times and without the
/// checksum over them.
fn timeless(file: &[u8]) -> Vec<u8> {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut state: Value = serde_json::from_str(&metadata.remove("resume").unwrap()).unwrap();
    state["state"]["timing"]["seconds"] = Value::Null;
    state["state"]["timing"]["validation_seconds"] = Value::Null;
    let mut all = state.to_string().into_bytes();
    let tensors: BTreeMap<_, _> = SafeTensors::deserialize(file).unwrap().tensors().into_iter().collect();
    for (name, tensor) in &tensors {
        all.extend_from_slice(name.as_bytes());
        all.extend_from_slice(tensor.data());
    }
    all
}
