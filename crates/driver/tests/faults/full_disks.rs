//! Disks fill up, or files reach a size limit, while states, events and reports are written.

use std::fs;
use std::process::Command;

use crate::short_run::{ShortRun, fails};

/// `command` in its own name space, where it may mount. `None` if the system does not allow that.
fn mounting(command: &Command) -> Option<Command> {
    let run = |line: &[&str]| Command::new("unshare").args(["-rm"]).args(line).output();
    let folder = tempfile::tempdir().unwrap();
    let mount = ["mount", "-t", "tmpfs", "tmpfs", folder.path().to_str().unwrap()];
    if !run(&mount).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system lets nobody mount a small disk");
        return None;
    }
    let mut inside = Command::new("unshare");
    inside.arg("-rm").arg(command.get_program()).args(command.get_args());
    inside.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Some(inside)
}

/// Runs in `full/run`, where `full` is a disk that `prepare` makes too small, and requires a
/// failure with `parts`. Then the disk grows, and the resumed run must end like an undisturbed one.
fn on_a_full_disk(run: &ShortRun, prepare: &str, parts: &[&str]) {
    fs::create_dir(run.path("full")).unwrap();
    // The status of the failure is kept, because the remaining commands must succeed.
    let line = format!(
        r#"mount -t tmpfs -o size=64m tmpfs full
           {prepare}
           status=0; "$0" "$@" || status=$?
           mount -o remount,size=64m full
           "$0" "$@" >/dev/null 2>&1
           cp -a full/run run
           exit $status"#
    );
    let Some(command) = mounting(&run.shell(&line, "full/run")) else { return };
    fails(command, 1, &[&["No space left on device"], parts].concat());
    run.finish("whole");
    run.assert_equal("run", &run.results("whole"), "on a disk that was full");
}

#[test]
fn a_disk_that_is_full_for_a_checkpoint_leaves_the_previous_one() {
    let run = ShortRun::new();
    // Room for the first state (1.5 MB) and the best weights (0.5 MB), but not for the next state
    // in addition.
    on_a_full_disk(&run, "mount -o remount,size=3000k full", &["resume.safetensors"]);
    let went_on = !run.path("run").exists() || run.happened("run", "training_started", 2);
    assert!(went_on, "the first state was lost");
}

#[test]
fn a_disk_that_is_full_for_an_event_ends_the_run() {
    let run =
        ShortRun::with(&["training.epochs=20", "training.checkpoint_every=0", "training.validate_every=0"]);
    on_a_full_disk(&run, "mount -o remount,size=24k full", &["keeping the events", "events.jsonl"]);
}

#[test]
fn a_disk_that_is_full_for_the_report_leaves_the_trained_weights() {
    let run = ShortRun::new();
    let prepare = r#""$0" "$@" >/dev/null 2>&1
        rm -r full/run/figures full/run/report.html full/run/evaluation.json
        used=$(df -k --output=used full | tail -n 1)
        mount -o remount,size=$((used + 48))k full"#;
    on_a_full_disk(&run, prepare, &["full/run/"]);
}

#[test]
fn a_file_that_may_grow_no_further_is_an_error_like_a_full_disk() {
    let run = ShortRun::new();
    run.finish("whole");
    assert!(run.kill_when("limited", || run.happened("limited", "checkpoint", 4)));
    // In units of 512 bytes: weights fit, a state does not.
    let limited = run.shell(r#"ulimit -f 1500; exec "$0" "$@""#, "limited");
    fails(limited, 1, &["resume.safetensors", "File too large"]);
    run.finish("limited");
    run.assert_equal("limited", &run.results("whole"), "under a limit of file sizes");

    let run =
        ShortRun::with(&["training.epochs=20", "training.checkpoint_every=0", "training.validate_every=0"]);
    let limited = run.shell(r#"ulimit -f 8; exec "$0" "$@""#, "limited");
    fails(limited, 1, &["keeping the events", "events.jsonl", "File too large"]);
}
