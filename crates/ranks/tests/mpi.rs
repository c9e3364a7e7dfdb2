//! Ranks that are real processes. `mpirun` starts this test's executable again, as the ranks.
//! Skipped with a line where there is no `mpirun`.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use robustseg_ranks::{Launch, mpi};

/// What a rank of [`started`] does, which a variable names.
const PART: &str = "ROBUSTSEG_TEST_PART";

/// How long a group of ranks may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `part` on `size` ranks. `None` without `mpirun`.
fn started(part: &str, size: usize) -> Option<Output> {
    let own = std::env::current_exe().expect("the path of this test");
    let mut command = Command::new("mpirun");
    command.args(["-n", &size.to_string()]);
    let version = Command::new("mpirun").arg("--version").output();
    let Ok(version) = version else {
        eprintln!("skipped: there is no mpirun");
        return None;
    };
    if version.stdout.starts_with(b"mpirun (Open MPI)") {
        command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
    }
    command.arg(own).args(["--exact", "a_rank", "--ignored", "--nocapture"]).env(PART, part);
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun can be started");
    while child.try_wait().expect("mpirun").is_none() {
        if start.elapsed() > LIMIT {
            child.kill().expect("mpirun can be ended");
            panic!("{part} on {size} ranks hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(child.wait_with_output().expect("the output"))
}

#[test]
#[ignore = "the other tests start it"]
fn a_rank() {
    let Ok(part) = std::env::var(PART) else { return };
    let ranks = mpi::start(&Launch::of_this_process()).expect("MPI");
    let (rank, size) = (ranks.rank(), ranks.size());
    match part.as_str() {
        "work" => {
            let mut sum = vec![rank as f32; 1000];
            ranks.sum_f32(&mut sum).unwrap();
            let all = (size * (size - 1) / 2) as f32;
            assert_eq!(sum, [all; 1000]);
            let mut sum = [1e-9 + rank as f64];
            ranks.sum_f64(&mut sum).unwrap();
            assert!((sum[0] - f64::from(all) - size as f64 * 1e-9).abs() < 1e-14);
            let pending: Vec<_> = (0..4).map(|n| ranks.start_sum(vec![n as f32; 70_000]).unwrap()).collect();
            assert!(ranks.any(rank + 1 == size).unwrap() && !ranks.any(false).unwrap());
            for (n, mut pending) in pending.into_iter().enumerate() {
                pending.is_complete().unwrap();
                assert_eq!(pending.wait().unwrap(), vec![(n * size) as f32; 70_000]);
            }
            let bytes = vec![rank as u8; 3 * rank];
            let expected: Vec<Vec<u8>> = (0..size).map(|rank| vec![rank as u8; 3 * rank]).collect();
            assert_eq!(ranks.gather(&bytes).unwrap(), expected);
            assert_eq!(ranks.broadcast(&[7 + rank as u8]).unwrap(), [7]);
            assert_eq!(ranks.leave(rank == 0, Duration::from_secs(10)), Some(true));
            std::process::exit(5);
        }
        "abort" => {
            if rank + 1 == size {
                assert_eq!(ranks.leave(true, Duration::from_millis(300)), None, "the others are in a sum");
                ranks.abort(4);
            }
            ranks.any(true).unwrap();
        }
        "killed" => {
            if rank == 0 {
                std::process::Command::new("kill")
                    .args(["-9", &std::process::id().to_string()])
                    .status()
                    .unwrap();
            }
            ranks.any(true).unwrap();
        }
        other => panic!("no part {other}"),
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn processes_add_up_and_leave_with_their_own_status() {
    for size in [1, 2, 3] {
        let Some(output) = started("work", size) else { return };
        assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    }
}

#[test]
fn a_failing_rank_ends_the_others_with_its_status() {
    let Some(output) = started("abort", 2) else { return };
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
}

#[test]
fn a_killed_rank_ends_the_others() {
    let Some(output) = started("killed", 2) else { return };
    assert!(!output.status.success(), "{}", text(&output));
}
