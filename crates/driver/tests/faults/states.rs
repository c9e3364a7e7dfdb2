//! Saved states and checkpoints that are damaged, belong to another run, or are not files; and runs
//! that compete for a directory.

use std::fs;

use crate::common::{checkpoint, robustseg};
use crate::short_run::{ShortRun, fails};

const STATE: &str = "out/checkpoints/resume.safetensors";

/// A run that was killed after its state was saved twice.
fn killed(run: &ShortRun) {
    let twice = || run.happened("out", "checkpoint", 4) && !run.happened("out", "checkpoint", 10);
    assert!(run.kill_when("out", twice));
}

fn fall_back(run: &ShortRun) -> std::process::Command {
    let mut command = run.command("out");
    command.arg("--fall-back");
    command
}

#[test]
fn a_damaged_state_is_refused_and_the_one_before_it_taken_when_asked_for() {
    let run = ShortRun::new();
    run.finish("whole");
    let expected = run.results("whole");
    for (what, damage) in [
        ("truncated", (|bytes| bytes.truncate(bytes.len() - 5)) as fn(&mut Vec<u8>)),
        ("is damaged", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("not a complete safetensors file", Vec::clear),
    ] {
        killed(&run);
        let mut bytes = fs::read(run.path(STATE)).unwrap();
        damage(&mut bytes);
        fs::write(run.path(STATE), bytes).unwrap();
        fails(run.command("out"), 3, &[STATE, what, "--fall-back"]);
        let output = fall_back(&run).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        run.assert_equal("out", &expected, what);
        fs::remove_dir_all(run.path("out")).unwrap();
    }
}

#[test]
fn a_lost_state_is_not_a_new_start() {
    let run = ShortRun::new();
    killed(&run);
    fs::remove_file(run.path(STATE)).unwrap();
    fails(run.command("out"), 3, &[STATE, "no such file", "--fall-back"]);
    fs::create_dir(run.path(STATE)).unwrap();
    fails(run.command("out"), 3, &[STATE, "is a folder"]);
    fs::remove_dir(run.path(STATE)).unwrap();
    // A checkpoint is not a state.
    fs::copy(run.path("out/checkpoints/last.safetensors"), run.path(STATE)).unwrap();
    fails(run.command("out"), 3, &[STATE, "not written by a training run"]);
    let without = robustseg(&["run", "short.yaml", "--fall-back"]);
    fails(without, 2, &["--resume"]);
}

#[test]
fn an_invalid_checkpoint_is_named() {
    let run = ShortRun::new();
    let path = checkpoint(run.folder());
    let whole = fs::read(&path).unwrap();
    let evaluate = |file: &str| {
        let mut command = robustseg(&["evaluate", "short.yaml", "--checkpoint", file]);
        command.current_dir(run.folder());
        command
    };
    let mut flipped = whole.clone();
    flipped[whole.len() - 7] ^= 2;
    fs::write(&path, flipped).unwrap();
    fails(evaluate("model.safetensors"), 3, &["model.safetensors", "is damaged"]);
    fails(evaluate("."), 3, &["is a folder"]);
    fails(evaluate("/dev/zero"), 3, &["/dev/zero", "no regular file"]);
    fs::write(&path, whole).unwrap();
    fails(evaluate("model.safetensors"), 3, &["model.safetensors", "4 classes", "3"]);
}

#[test]
fn a_directory_is_one_runs_alone() {
    let run = ShortRun::with(&["training.epochs=1000"]);
    let mut first = run.start("out");
    while !run.happened("out", "step", 0) {
        assert!(first.try_wait().unwrap().is_none(), "the run is over already");
    }
    fails(run.command("out"), 1, &["out", "in use"]);
    first.kill().unwrap();
    first.wait().unwrap();
    let mut other = run.command("out");
    other.args(["--set", "seed=5"]);
    fails(other, 2, &["out", "another spec"]);
}
