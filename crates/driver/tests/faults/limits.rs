//! Limits of time and memory, numbers of threads, and outputs that cannot be written.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use candle_core::Device;
use robustseg_models::{Network, NetworkConfig};

use crate::common::{robustseg, tiny};
use crate::short_run::{ShortRun, fails, under_shell};

/// Specs that try to use much memory: deep nesting, exploding anchors, endless numbers, many keys.
fn hostile() -> Vec<(&'static str, String)> {
    let head = "name: x\ndata: {manifest: tiny.yaml}\n";
    let mut anchors = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        anchors += &format!("a{level}: &a{level} [{before}]\n");
    }
    let training = |rest: &str| format!("{head}training: {{method: basic, epochs: 1, {rest}}}\n");
    vec![
        ("nesting", "[".repeat(500_000)),
        ("block nesting", "- ".repeat(500_000)),
        ("anchors", anchors),
        ("an anchor in itself", "a: &a [*a]\n".into()),
        ("many keys", (0..100_000).fold(String::new(), |text, key| text + &format!("k{key}: 1\n"))),
        ("a duplicate key", format!("{head}name: y\n")),
        ("an unknown key", format!("{head}nmae: y\n")),
        ("a huge number", training(&format!("batch_size: {}", "9".repeat(100_000)))),
        ("a batch of all memory", training("batch_size: 18446744073709551615")),
        ("a crop of all memory", training("batch_size: 1, augmentation: {crop: 1000000000}")),
        ("endless epochs", training("batch_size: 1").replace("epochs: 1", "epochs: 18446744073709551615")),
        ("a network of all memory", training("batch_size: 1") + "model: {width: 100000000}\n"),
        ("an epoch of all numbers", training(&format!("batch_size: 1, validate_every: {}0", u64::MAX))),
        ("infinity", training("batch_size: 1, learning_rate: .inf")),
        ("a file of a megabyte", "#".repeat(1 << 20) + "\n"),
        ("no text", "\0\u{1}\u{feff}".into()),
    ]
}

#[test]
fn hostile_specs_are_refused_in_a_second_and_little_memory() {
    let run = ShortRun::new();
    for (what, text) in hostile() {
        fs::write(run.path("hostile.yaml"), text).unwrap();
        // 100 MB of data, including the stacks of threads.
        let seconds = || {
            let mut command = under_shell(r#"ulimit -d 100000; exec "$0" "$@""#, &["check", "hostile.yaml"]);
            command.current_dir(run.folder()).env("RUST_BACKTRACE", "0");
            let start = Instant::now();
            fails(command, 2, &["robustseg: "]);
            start.elapsed().as_secs_f64()
        };
        // Other processes use the machine as well.
        assert!((0..5).any(|_| seconds() < 1.0), "{what} takes longer than a second");
    }
}

#[test]
fn a_run_resumes_with_any_number_of_threads() {
    let run = ShortRun::new();
    run.finish("whole");
    let expected = run.results("whole");
    for (before, after) in [("1", "3"), ("4", "1")] {
        let part = r#"RAYON_NUM_THREADS=$THREADS exec "$0" "$@""#;
        let mut first = run.shell(part, "parts");
        let mut child = first.env("THREADS", before).stderr(std::process::Stdio::null()).spawn().unwrap();
        while !run.happened("parts", "step", 5) {
            assert!(child.try_wait().unwrap().is_none(), "the run is over already");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let output = run.shell(part, "parts").env("THREADS", after).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        run.assert_equal("parts", &expected, &format!("{before} threads, then {after}"));
        fs::remove_dir_all(run.path("parts")).unwrap();
    }
}

#[test]
fn too_little_memory_is_reported_with_what_to_lower_and_costs_no_state() {
    // Three steps of about 100 MB each.
    let set = ["training.augmentation.crop=256", "training.batch_size=9", "training.checkpoint_every=1"];
    let run = ShortRun::with(&set);
    run.finish("whole");
    let expected = run.results("whole");
    assert!(run.kill_when("out", || run.happened("out", "checkpoint", 1)));

    // A plan that cannot fit is refused before any work.
    let large = ShortRun::with(&["training.augmentation.crop=8192", "training.batch_size=9"]);
    let arguments = [r#"ulimit -v 4000000; exec "$0" "$@""#, "out"];
    let parts =
        ["a training step needs at least", "training.batch_size (9 now)", "training.augmentation.crop"];
    fails(large.shell(arguments[0], arguments[1]), 4, &parts);
    assert!(!large.path("out").exists());

    // If memory runs out during the run, the status is the same wherever that happens, and the
    // state stays.
    let mut statuses = Vec::new();
    for megabytes in (20..).step_by(10) {
        let line = format!(r#"ulimit -v {megabytes}000; exec "$0" "$@""#);
        let output = run.shell(&line, "out").env("RAYON_NUM_THREADS", "2").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => break,
            // The program itself does not fit.
            Some(127) | None if statuses.is_empty() => {}
            status => {
                assert_eq!(status, Some(4), "{megabytes} MB: {error}");
                assert!(error.contains("memory") || error.contains("threads"), "{error}");
                statuses.push(megabytes);
            }
        }
    }
    assert!(statuses.len() > 1, "{statuses:?}");
    run.assert_equal("out", &expected, &format!("out of memory at {statuses:?} MB"));
}

#[test]
fn an_output_that_nobody_reads_ends_no_work_and_says_nothing() {
    let run = ShortRun::new();
    let arguments: [&[&str]; 6] = [
        &["check", "short.yaml"],
        &["check", "short.yaml", "--json"],
        &["schema"],
        &["completions", "bash"],
        &["--help"],
        &["run", "short.yaml", "--out", "out"],
    ];
    for arguments in arguments {
        let mut command = robustseg(arguments);
        command.current_dir(run.folder()).env("ROBUSTSEG_LOG", "warn");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    assert!(run.path("out/report.html").is_file());
    // Errors are still reported.
    let mut command = robustseg(&["data", "check", "tiny.yaml"]);
    fs::write(run.path("tiny.yaml"), "name: x\n").unwrap();
    let mut child = command.current_dir(run.folder()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_log_that_nobody_reads_ends_no_run() {
    let run = ShortRun::new();
    let mut command = run.command("out");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(run.path("out/report.html").is_file());
    // An error keeps its status, too.
    let mut child = robustseg(&["check", "none.yaml"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_log_carries_time_and_epoch_and_is_kept_with_the_run() {
    let run = ShortRun::new();
    assert!(run.kill_when("out", || run.happened("out", "checkpoint", 4)));
    let output = run.command("out").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let kept = fs::read_to_string(run.path("out/run.log")).unwrap();
    for line in told.lines().chain(kept.lines()) {
        let (time, _) = line.split_once("Z ").expect("a time");
        assert_eq!((time.len(), time.as_bytes()[10]), (19, b'T'), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    assert!(told.lines().any(|line| line.contains("training ") && line.contains("epoch 2/3")), "{told}");
    assert!(told.contains("3 epochs, 12 steps"), "{told}");
    let starts =
        kept.lines().filter(|line| line.contains(" INFO robustseg ") && line.contains("run short.yaml"));
    assert_eq!(starts.count(), 2, "{kept}");
    for line in told.lines() {
        assert!(kept.contains(line), "{line} is not kept");
    }
    // The log also contains the final error of a run.
    fs::write(run.path("out/checkpoints/resume.safetensors"), "x").unwrap();
    fails(run.command("out"), 3, &["resume.safetensors"]);
    let kept = fs::read_to_string(run.path("out/run.log")).unwrap();
    let last = kept.lines().last().unwrap();
    assert!(last.contains("ERROR") && last.contains("resume.safetensors"), "{kept}");
}

#[test]
fn predict_attack_and_evaluate_ask_for_memory_beforehand() {
    let run = ShortRun::new();
    let manifest = fs::read_to_string(run.path("tiny.yaml")).unwrap();
    fs::write(run.path("tiny.yaml"), manifest.replace("height: 24, width: 32", "height: 3000, width: 3000"))
        .unwrap();
    let config = NetworkConfig { num_classes: 3, ..tiny() };
    Network::new(&config, 1, &Device::Cpu).unwrap().save(&run.path("model.safetensors")).unwrap();
    for (name, side) in [("large.png", 8000), ("image.png", 3000), ("label.png", 3000)] {
        // One bit per pixel.
        let mut encoder = png::Encoder::new(fs::File::create(run.path(name)).unwrap(), side, side);
        encoder.set_depth(png::BitDepth::One);
        let rows = vec![0; side as usize * (side as usize).div_ceil(8)];
        encoder.write_header().unwrap().write_image_data(&rows).unwrap();
    }
    let under_a_limit = |arguments: &[&str]| {
        let checkpoint = ["--checkpoint", "model.safetensors"];
        let mut command =
            under_shell(r#"ulimit -v 700000; exec "$0" "$@""#, &[arguments, &checkpoint].concat());
        command.current_dir(run.folder()).env("RAYON_NUM_THREADS", "2");
        command
    };
    let predict = ["predict", "large.png", "--out", "out"];
    fails(under_a_limit(&predict), 4, &["large.png", "8000x8000", "needs at least", "--window"]);
    let attack =
        ["attack", "--method", "fgsm", "--image", "image.png", "--label", "label.png", "--out", "out"];
    fails(under_a_limit(&attack), 4, &["3000x3000", "needs at least", "--window"]);
    let evaluate = ["evaluate", "short.yaml", "--out", "out"];
    fails(under_a_limit(&evaluate), 4, &["the evaluation needs at least", "evaluation.window"]);
    assert!(!run.path("out").exists());
    let cropped = [&attack[..], &["--window", "center_crop:32"]].concat();
    let output = under_a_limit(&cropped).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    fails(under_shell(r#""$0" "$@" > /dev/full"#, &["schema"]), 1, &["standard output", "No space left"]);
}
