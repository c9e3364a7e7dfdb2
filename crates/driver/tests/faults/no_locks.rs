//! File systems without locks still have one owner at a time, and a dead owner does not block
//! others.

use std::process::{Command, Stdio};

use crate::shim::behind;
use crate::short_run::{ShortRun, fails};

/// `command` where `flock` fails with this error number.
fn without_locks(run: &ShortRun, command: Command, error: i32) -> Command {
    let mut command = behind("flock", run, command);
    command.env("FLOCK_ERRNO", error.to_string());
    command
}

#[test]
fn a_file_system_without_locks_is_reported_once_and_refuses_nothing() {
    let run = ShortRun::with(&["training.epochs=1"]);
    run.finish("whole");
    let expected = run.results("whole");
    // ENOSYS, EOPNOTSUPP and ENOLCK of Linux.
    for error in [38, 95, 37] {
        let out = format!("out {error}");
        let output = without_locks(&run, run.command(&out), error).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        assert_eq!(told.matches("has no locks").count(), 1, "{told}");
        run.assert_equal(&out, &expected, &out);
    }
    // Any other error is not a missing lock.
    let broken = without_locks(&run, run.command("broken"), 5);
    fails(broken, 1, &["locking", "broken"]);
}

#[test]
fn a_directory_without_locks_has_one_owner_and_a_killed_one_is_followed() {
    let run = ShortRun::with(&["training.epochs=1000"]);
    let mut first = without_locks(&run, run.command("out"), 95);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.happened("out", "step", 0) {
        assert!(first.try_wait().unwrap().is_none(), "the run is over already");
    }
    let process = format!("process {}", first.id());
    fails(without_locks(&run, run.command("out"), 95), 1, &["out", "in use", &process, ".lock.owner"]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(run.path("out/.lock.owner").exists());
    let mut second = without_locks(&run, run.command("out"), 95);
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let owner = || std::fs::read_to_string(run.path("out/.lock.owner")).unwrap_or_default();
    while !owner().contains(&second.id().to_string()) {
        assert!(second.try_wait().unwrap().is_none(), "the second run is refused");
    }
    second.kill().unwrap();
    second.wait().unwrap();
}
