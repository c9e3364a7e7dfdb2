//! Signals that request an end save the state and lead to status 5. A second SIGINT or SIGTERM ends
//! the process at once.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::short_run::ShortRun;

pub fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Whether this process ignores SIGHUP, as under `nohup`. Its child processes then do, too.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

/// Starts a run and waits until `moment` returns true.
fn started(run: &ShortRun, out: &str, moment: impl Fn() -> bool) -> Child {
    let mut child = run.start(out);
    let start = Instant::now();
    while !moment() {
        assert!(child.try_wait().unwrap().is_none(), "the run is over already");
        assert!(start.elapsed() < Duration::from_secs(120), "the run hangs");
    }
    child
}

#[test]
fn a_signal_saves_the_state_and_the_run_resumes_from_it() {
    // A hundred steps, so that the signal arrives before the end.
    let run =
        ShortRun::with(&["training.epochs=25", "training.checkpoint_every=0", "training.validate_every=5"]);
    run.finish("whole");
    let mut expected = run.results("whole");
    expected.remove("checkpoints/resume.former.safetensors");
    for signal in ["INT", "TERM", "HUP", "USR1", "USR2", "XCPU"] {
        if signal == "HUP" && hangups_are_ignored() {
            eprintln!("skipped: HUP, which is ignored here");
            continue;
        }
        let mut child = started(&run, signal, || run.happened(signal, "step", 10));
        send(signal, &child);
        if signal != "INT" && signal != "TERM" {
            // Both the kernel and the shell send one when a terminal closes.
            send(signal, &child);
        }
        let start = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(5), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(10), "{signal} took {:?}", start.elapsed());
        let events = run.events(signal);
        let last = events.last().unwrap();
        assert_eq!(last["kind"], "training_interrupted");
        let steps = events.iter().filter(|event| event["kind"] == "step").count();
        assert_eq!(last["step"].as_u64(), Some(steps as u64), "every step that was done is saved");
        run.finish(signal);
        let mut found = run.results(signal);
        // The previous state is that of the interruption.
        found.remove("checkpoints/resume.former.safetensors").unwrap();
        assert!(found == expected, "{signal}");
        std::fs::remove_dir_all(run.path(signal)).unwrap();
    }
}

#[test]
fn a_terminal_that_closes_saves_the_state() {
    if hangups_are_ignored() {
        eprintln!("skipped: SIGHUP is ignored here");
        return;
    }
    let run = ShortRun::with(&["training.epochs=100000"]);
    // `script` creates a terminal for the run and closes it at its own end.
    let line = r#"exec script -qec "$0 run short.yaml --out out --set training.epochs=100000" /dev/null"#;
    let mut script = run.shell(line, "out");
    let Ok(mut script) = script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    else {
        return;
    };
    while !run.happened("out", "step", 10) {
        if script.try_wait().unwrap().is_some() {
            eprintln!("skipped: this system has no `script`");
            return;
        }
    }
    script.kill().unwrap();
    script.wait().unwrap();
    let start = Instant::now();
    while run.events("out").last().is_none_or(|event| event["kind"] != "training_interrupted") {
        assert!(start.elapsed() < Duration::from_secs(60), "the state is not saved");
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = std::fs::read_to_string(run.path("out/run.log")).unwrap();
    assert!(log.contains("state saved"), "{log}");
}

#[test]
fn a_hangup_that_is_ignored_under_nohup_stays_ignored() {
    let run = ShortRun::new();
    let mut command = run.shell(r#"trap "" HUP; exec "$0" "$@""#, "out");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.happened("out", "step", 0) {
        assert!(child.try_wait().unwrap().is_none(), "the run is over already");
    }
    send("HUP", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(run.path("out/report.html").is_file());
}

#[test]
fn a_second_signal_ends_at_once() {
    // A step that takes many seconds.
    let run = ShortRun::with(&["training.augmentation.crop=700", "training.batch_size=9"]);
    let mut child = started(&run, "out", || run.happened("out", "training_started", 0));
    send("TERM", &child);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the first one waits for the step");
    send("TERM", &child);
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
