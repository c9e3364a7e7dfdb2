//! `kill -9` at any moment of a run, followed by `--resume`, gives the result of an undisturbed
//! run.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rand::RngExt;
use robustseg_random::stream;

use crate::short_run::ShortRun;

/// The number of kills in the random test. `just test-faults` sets 200.
fn kills() -> usize {
    std::env::var("ROBUSTSEG_KILLS").map_or(5, |kills| kills.parse().expect("ROBUSTSEG_KILLS is a number"))
}

#[test]
fn a_run_killed_at_random_moments_ends_as_one_that_was_not() {
    let run = ShortRun::new();
    let start = Instant::now();
    run.finish("whole");
    let mut whole = start.elapsed().as_secs_f64();
    let expected = run.results("whole");
    let random = &mut stream(0, "kills", [0; 3]);
    let (mut killed, mut cases, mut phases) = (0, 0, BTreeMap::<_, usize>::new());
    while killed < kills() {
        let mut moments = Vec::new();
        // A third of the resumed runs are killed again.
        while killed < kills() && (moments.is_empty() || random.random::<f64>() < 1.0 / 3.0) {
            let moment = random.random::<f64>() * whole;
            let mut child = run.start("killed");
            std::thread::sleep(Duration::from_secs_f64(moment));
            let ended = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            if !ended {
                moments.push(format!("{moment:.3} s"));
                *phases.entry(phase(&run)).or_default() += 1;
                killed += 1;
            } else if moments.is_empty() {
                // The machine is faster now than during the measurement.
                whole = f64::midpoint(whole, moment);
                fs::remove_dir_all(run.path("killed")).unwrap();
            } else {
                break;
            }
        }
        run.finish("killed");
        run.assert_equal("killed", &expected, &format!("killed after {}", moments.join(", then ")));
        fs::remove_dir_all(run.path("killed")).unwrap();
        cases += 1;
    }
    println!("{killed} kills in {cases} runs of {whole:.2} s, all equal; {phases:?}");
}

/// The phase in which the run was killed.
fn phase(run: &ShortRun) -> &'static str {
    if writes_checkpoint(run) {
        "writing a checkpoint"
    } else if run.events("killed").is_empty() {
        "starting"
    } else if !run.happened("killed", "training_finished", 12) {
        "training"
    } else if !run.path("killed/evaluation.json").exists() {
        "evaluating"
    } else {
        "reporting"
    }
}

fn writes_checkpoint(run: &ShortRun) -> bool {
    let Ok(files) = fs::read_dir(run.path("killed/checkpoints")) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with(".robustseg-"))
}

/// Kills a run as soon as `now` returns true, and compares its result after resuming. If the moment
/// passes unnoticed, tries again.
fn killed_when(moment: &str, now: impl Fn(&ShortRun) -> bool) {
    killed_with(&[], moment, now);
}

/// The same with other values in the spec.
fn killed_with(set: &[&str], moment: &str, now: impl Fn(&ShortRun) -> bool) {
    let run = ShortRun::with(set);
    run.finish("whole");
    let expected = run.results("whole");
    let hit = (0..20).any(|_| {
        let hit = run.kill_when("killed", || now(&run));
        if !hit {
            fs::remove_dir_all(run.path("killed")).unwrap();
        }
        hit
    });
    assert!(hit, "no run was caught {moment}");
    run.finish("killed");
    run.assert_equal("killed", &expected, moment);
}

#[test]
fn a_run_killed_in_the_middle_of_an_epoch_resumes() {
    killed_when("in the middle of an epoch", |run| {
        run.happened("killed", "step", 5) && !run.happened("killed", "validation", 8)
    });
}

#[test]
fn a_killed_run_with_adamw_a_warm_up_and_an_average_resumes() {
    let set = ["training.optimiser=adamw", "training.warm_up_epochs=1.5", "training.average={decay: 0.9}"];
    killed_with(&set, "in the middle of an epoch", |run| {
        run.happened("killed", "step", 5) && !run.happened("killed", "validation", 8)
    });
}

#[test]
fn a_run_killed_at_the_end_of_an_epoch_resumes() {
    killed_when("at the end of an epoch", |run| {
        run.happened("killed", "step", 7) && !run.happened("killed", "step", 8)
    });
}

#[test]
fn a_run_killed_while_it_writes_a_checkpoint_resumes_and_nothing_is_left() {
    killed_when("writing a checkpoint", writes_checkpoint);
}

#[test]
fn a_run_killed_during_evaluation_resumes() {
    killed_when("evaluating", |run| {
        run.happened("killed", "training_finished", 12) && !run.path("killed/evaluation.json").exists()
    });
}

#[test]
fn a_run_killed_while_it_writes_its_report_resumes() {
    killed_when("writing the report", |run| {
        run.path("killed/evaluation.json").exists() && !run.path("killed/report.html").exists()
    });
}

#[test]
fn what_a_killed_process_left_half_written_goes_from_every_folder() {
    let run = ShortRun::with(&["training.epochs=1"]);
    run.finish("out");
    let expected = run.results("out");
    let folders = expected.keys().map(|file| run.path("out").join(file).parent().unwrap().to_owned());
    let folders: std::collections::BTreeSet<_> = folders.collect();
    assert!(folders.len() > 3);
    for folder in folders {
        fs::write(folder.join(".robustseg-killed.tmp"), "half").unwrap();
    }
    run.finish("out");
    run.assert_equal("out", &expected, "with half-written files");
}
