//! Runs of several processes, which `mpirun` starts. Skipped with a line where there is no `mpirun`.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use common::generated::tiny;
use common::processes::{LIMIT, Runs, ended, error};

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
