//! The wall clock is set ahead and back again and again during a run.

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::shim::behind;
use crate::short_run::ShortRun;

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let run = ShortRun::new();
    run.finish("whole");
    let expected = run.results("whole");

    let start = Instant::now();
    let mut child = behind("clock", &run, run.command("out"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.happened("out", "step", 5) {
        assert!(child.try_wait().unwrap().is_none(), "the run is over already");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = behind("clock", &run, run.command("out")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seconds = start.elapsed().as_secs_f64();
    run.assert_equal("out", &expected, "under a clock that jumps");

    // Recorded durations are the time that really passed.
    let times: Vec<f64> = run.events("out").iter().map(|event| event["time_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|before, after| before <= after));
    assert!(*times.last().unwrap() < seconds);
    let read =
        |file: &str| -> Value { serde_json::from_slice(&std::fs::read(run.path(file)).unwrap()).unwrap() };
    let timing = read("out/timing.json").to_string();
    let numbers = timing.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    assert!(numbers.filter_map(|number| number.parse::<f64>().ok()).all(|number| number < 1e9), "{timing}");
    // The clock did jump: a hundred years ahead, or to before 1970, which is recorded as 0.
    for invocation in read("out/provenance.json")["invocations"].as_array().unwrap() {
        let date = invocation["time"].as_u64().unwrap();
        assert!(date == 0 || date > 4_000_000_000, "{date}");
    }
}
