//! Interrupted or killed evaluations resume after the last image and give the results of an
//! undisturbed one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{files, robustseg};
use crate::short_run::{ShortRun, fails};
use crate::signals::send;

/// Curves that take a while: they have random starts, and the last one decides which images become
/// examples.
const CURVES: &str = "evaluation.curves=[{pgd: {alpha: 0.001, steps: 60, restarts: 2, epsilons: [0, 0.02]}}, \
    {sea: {steps: 20, epsilons: [0.01, 0.02]}}]";

const LOG: &str = "unfinished_evaluation/images.log";

fn short_run() -> ShortRun {
    ShortRun::with(&["training.epochs=1", "evaluation.examples=2", CURVES])
}

/// The number of images that the evaluation in the directory `out` has recorded.
fn seen(run: &ShortRun, out: &str) -> usize {
    let log = fs::read_to_string(run.path(out).join(LOG)).unwrap_or_default();
    log.matches('\n').count().saturating_sub(1)
}

/// Evaluates the run `whole` into the directory `out`, with `more` arguments.
fn evaluate(run: &ShortRun, out: &str, more: &[&str]) -> Command {
    evaluate_of("whole", run, out, more)
}

/// Evaluates a run's checkpoint into the directory `out`, with `more` arguments.
fn evaluate_of(of: &str, run: &ShortRun, out: &str, more: &[&str]) -> Command {
    let checkpoint = format!("{of}/checkpoints/last.safetensors");
    let mut arguments = vec!["evaluate", "short.yaml", "--set", "evaluation.examples=2", "--set", CURVES];
    arguments.extend(["--checkpoint", &checkpoint]);
    if !out.is_empty() {
        arguments.extend(["--out", out]);
    }
    let mut command = robustseg(&[&arguments, more].concat());
    command.current_dir(run.folder());
    command
}

/// Starts `command` and waits until it has recorded an image in the directory `out`.
fn begun(run: &ShortRun, mut command: Command, out: &str) -> Child {
    let before = seen(run, out);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while seen(run, out) <= before {
        assert!(child.try_wait().unwrap().is_none(), "the evaluation is over already");
        assert!(start.elapsed() < Duration::from_secs(120), "the evaluation hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// The results of an evaluation, without its records of commands and times.
fn results(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |file: &Path| file.strip_prefix(path).unwrap().to_string_lossy().into_owned();
    let mut found: BTreeMap<String, Vec<u8>> =
        files(path).into_iter().map(|(file, bytes)| (name(&file), bytes)).collect();
    for file in ["provenance.json", "report.html", ".robustseg.jsonl"] {
        found.remove(file).unwrap();
    }
    found
}

#[test]
fn an_interrupted_evaluation_continues_image_by_image() {
    let run = short_run();
    run.finish("whole");
    assert!(evaluate(&run, "straight", &[]).output().unwrap().status.success());
    let expected = results(&run.path("straight"));
    for signal in ["TERM", "KILL"] {
        let mut child = begun(&run, evaluate(&run, signal, &[]), signal);
        send(signal, &child);
        let status = child.wait().unwrap().code();
        assert_eq!(status, (signal == "TERM").then_some(5));
        let done = seen(&run, signal);
        assert!((1..3).contains(&done) && !run.path(signal).join("evaluation.json").exists());
        fails(evaluate(&run, signal, &[]), 2, &[signal, "unfinished", "--resume"]);
        let output = evaluate(&run, signal, &["--resume"]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains(&format!("after {done} image")), "{told}");
        assert!(results(&run.path(signal)) == expected, "{signal}");
    }
    // Without a directory there is nothing to resume from.
    let mut child = evaluate(&run, "", &[]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(child.try_wait().unwrap().is_none(), "the evaluation is over already");
    send("TERM", &child);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("--out"), "{told}");
    fails(evaluate(&run, "", &["--resume"]), 2, &["--out"]);
}

#[test]
fn a_signal_during_a_runs_evaluation_loses_at_most_an_image() {
    let run = short_run();
    run.finish("whole");
    let expected = run.results("whole");
    for signal in ["USR1", "KILL"] {
        let mut child = begun(&run, run.command(signal), signal);
        send(signal, &child);
        let status = child.wait().unwrap().code();
        assert_eq!(status, (signal == "USR1").then_some(5));
        let done = seen(&run, signal);
        assert!((1..3).contains(&done) && !run.path(signal).join("evaluation.json").exists());
        let output = run.command(signal).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains(&format!("after {done} image")), "{told}");
        run.assert_equal(signal, &expected, signal);
        let steps = run.events(signal).iter().filter(|event| event["kind"] == "step").count();
        assert_eq!(steps, 4);
    }
}

#[test]
fn records_that_are_damaged_or_of_another_evaluation_are_named() {
    let run = short_run();
    run.finish("whole");
    let mut other = run.command("other");
    assert!(other.args(["--set", "seed=9"]).output().unwrap().status.success());
    let evaluate_other = || evaluate_of("other", &run, "of other", &["--resume"]);
    for (command, out) in [(evaluate(&run, "out", &[]), "out"), (evaluate_other(), "of other")] {
        let mut child = begun(&run, command, out);
        send("KILL", &child);
        child.wait().unwrap();
    }
    let log = run.path("out").join(LOG);
    let whole = fs::read(&log).unwrap();
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for (at, part) in [(head / 2, "line 1 is damaged"), (head + 100, "line 2 is damaged")] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&log, flipped).unwrap();
        fails(evaluate(&run, "out", &["--resume"]), 3, &["images.log", part, "delete"]);
    }
    // A copied log: an evaluation refuses it, and a run reports that it starts with the first
    // image.
    fs::write(run.path("of other").join(LOG), &whole).unwrap();
    fails(evaluate_other(), 3, &["images.log", "other weights", "delete"]);
    let expected = run.results("other");
    fs::create_dir(run.path("other/unfinished_evaluation")).unwrap();
    fs::write(run.path("other").join(LOG), &whole).unwrap();
    let output = run.command("other").args(["--set", "seed=9"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("other weights"), "{told}");
    run.assert_equal("other", &expected, "with records of other weights");
    // An incomplete last line belongs to the image that was in progress.
    fs::write(&log, &whole[..whole.len() - 9]).unwrap();
    assert!(evaluate(&run, "out", &["--resume"]).output().unwrap().status.success());
}
