//! Pictures that break, disappear or change while a training reads them.

use std::fs;
use std::path::Path;

use png::ColorType::{Grayscale, Rgb};

use crate::odd_images::png;
use crate::short_run::ShortRun;

const MANIFEST: &str = "name: pictures
folder: pictures
layout: pairs
classes: [{name: left, colour: [0, 0, 0]}, {name: right, colour: [255, 0, 0]}]
ignored: [255]
splits:
  train: {file: train.txt, count: 6}
  val: {file: val.txt, count: 1}
citation: none
licence: none
obtain: nowhere
";

/// A run on files. Those of `3` are read in each epoch.
fn run_on_files(more: &[&str]) -> ShortRun {
    let set = ["data.manifest=pictures.yaml", "data.root=pictures", "training.epochs=20"];
    let run =
        ShortRun::with(&[&set[..], &["training.validate_every=0", "evaluation.curves=[]"], more].concat());
    fs::write(run.path("pictures.yaml"), MANIFEST).unwrap();
    fs::create_dir(run.path("pictures")).unwrap();
    for name in 0..7 {
        fs::write(
            run.path(&format!("pictures/{name}.png")),
            png(32, 24, Rgb, |i| (i * (7 + name) % 251) as u8),
        )
        .unwrap();
        fs::write(run.path(&format!("pictures/{name}_label.png")), png(32, 24, Grayscale, |i| (i % 2) as u8))
            .unwrap();
    }
    let line = |name: usize| format!("{name}.png {name}_label.png\n");
    fs::write(run.path("pictures/train.txt"), (0..6).map(line).collect::<String>()).unwrap();
    fs::write(run.path("pictures/val.txt"), line(6)).unwrap();
    run
}

/// What happens to the folder of pictures.
type Harm = fn(&Path);

/// Starts the run in `out` and applies `harm` to its pictures after a few training steps.
fn harmed(run: &ShortRun, out: &str, harm: Harm) -> std::process::Output {
    let mut command = run.command(out);
    let child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !run.happened(out, "step", 5) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    harm(&run.path("pictures"));
    child.wait_with_output().unwrap()
}

#[test]
fn a_picture_that_goes_or_changes_while_it_is_trained_on_is_named_and_costs_no_state() {
    let run = run_on_files(&[]);
    run.finish("whole");
    let expected = run.results("whole");
    let (picture, label) = (run.path("pictures/3.png"), run.path("pictures/3_label.png"));
    let whole = (fs::read(&picture).unwrap(), fs::read(&label).unwrap());
    let harms: [(&str, &[&str], Harm); 4] = [
        ("vanished", &["no image", "3.png"], |folder| fs::remove_file(folder.join("3.png")).unwrap()),
        ("truncated", &["3.png"], |folder| {
            let bytes = fs::read(folder.join("3.png")).unwrap();
            fs::write(folder.join("3.png"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("another size", &["3.png", "33x24", "32x24"], |folder| {
            fs::write(folder.join("3.png"), png(33, 24, Rgb, |_| 9)).unwrap();
        }),
        ("no class", &["3_label.png", "7"], |folder| {
            fs::write(folder.join("3_label.png"), png(32, 24, Grayscale, |_| 7)).unwrap();
        }),
    ];
    for (what, parts, harm) in harms {
        let output = harmed(&run, "out", harm);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{what}: {error}");
        fs::write(&picture, &whole.0).unwrap();
        fs::write(&label, &whole.1).unwrap();
        run.finish("out");
        run.assert_equal("out", &expected, what);
        fs::remove_dir_all(run.path("out")).unwrap();
    }
}

#[test]
fn a_picture_that_goes_while_it_is_trained_on_is_skipped_and_counted_where_the_spec_says_so() {
    let run = run_on_files(&["data.on_bad_sample=skip"]);
    let output = harmed(&run, "out", |folder| fs::remove_file(folder.join("3.png")).unwrap());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 bad training sample skipped"), "{told}");
    let skipped = run.events("out").into_iter().filter(|event| event["kind"] == "sample_skipped");
    assert_eq!(skipped.map(|event| event["sample"].clone()).collect::<Vec<_>>(), ["3"]);
}
