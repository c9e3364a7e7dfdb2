//! `robustseg data init`: from an unknown folder to a report.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{fails, files, refuses, run_in, scenes, succeeds};
use robustseg_datasets::Manifest;

/// A folder `photos` of twelve images and label maps.
fn photos() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["pictures", "masks"] {
        fs::create_dir_all(folder.path().join("photos").join(part)).unwrap();
    }
    for index in 0..12 {
        let path = |name: String| folder.path().join("photos").join(name);
        fs::write(path(format!("pictures/p{index}.png")), scenes::image(index)).unwrap();
        fs::write(path(format!("masks/p{index}_mask.png")), scenes::label(index, |class| 10 * class))
            .unwrap();
    }
    folder
}

#[test]
fn five_commands_lead_from_an_unknown_folder_to_a_report_within_five_minutes() {
    let folder = photos();
    let before = files(&folder.path().join("photos"));
    let start = Instant::now();
    for command in [
        "data init photos --spec first.yaml",
        "data check photos.yaml --root photos",
        "data preview first.yaml --out sheet.png",
        "check first.yaml",
        "run first.yaml",
    ] {
        succeeds(folder.path(), &command.split(' ').collect::<Vec<_>>());
    }
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
    assert!(folder.path().join("runs/photos/report.html").is_file());
    assert!(folder.path().join("sheet.png").is_file());
    assert_eq!(files(&folder.path().join("photos")), before, "nothing is written among the data");
    let manifest = Manifest::load(&folder.path().join("photos.yaml")).unwrap();
    let classes: Vec<_> = manifest.classes.iter().map(|class| class.values.clone()).collect();
    assert_eq!(classes, [[0], [10], [20]]);
}

#[test]
fn init_says_what_it_guessed_and_writes_over_nothing() {
    let folder = photos();
    let output = run_in(folder.path(), &["data", "init", "photos"]);
    let told = String::from_utf8(output.stdout).unwrap();
    for part in [
        "images pictures/*.png, labels masks/*_mask.png",
        "label values 0, 10, 20",
        "all images have 40x32 pixels",
        "each is called after its value",
        "fixed draw of 20 %",
        "next: robustseg data check photos.yaml --root photos",
    ] {
        assert!(told.contains(part), "{part}: {told}");
        let written = fs::read_to_string(folder.path().join("photos.yaml")).unwrap().replace("\n#  ", "");
        assert!(part.starts_with("next") || written.contains(part), "{part}: {written}");
    }
    refuses(folder.path(), &["data", "init", "photos"], &["photos.yaml", "did not write it", "--out"]);
    refuses(folder.path(), &["data", "init", "photos", "--out", "photos/m.yaml"], &["lie in"]);
    let same = ["data", "init", "photos", "--out", "m.yaml", "--spec", "m.yaml"];
    refuses(folder.path(), &same, &["--spec"]);
    fails(folder.path(), &["data", "init", "none"], 3, &["none"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    fails(folder.path(), &["data", "init", "empty"], 3, &["no JPEG or PNG files"]);
}

#[test]
fn a_preview_shows_what_a_spec_trains_on() {
    let folder = tempfile::tempdir().unwrap();
    scenes::write(folder.path());
    let sheet = |rest: &[&str]| {
        let command =
            [&["data", "preview", "spec.yaml", "--out", "sheet.png", "--count", "2"], rest].concat();
        let output = run_in(folder.path(), &command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (fs::read(folder.path().join("sheet.png")).unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (of_spec, told) = sheet(&[]);
    assert!(told.contains("scale "), "{told}");
    let plain = "training.augmentation={crop: 24, flip: false, scale: [1, 1], rotation: 0, blur: false}";
    let (of_other, told) = sheet(&["--set", plain]);
    assert!(told.contains("scale 1.00, rotation +0.0") && !told.contains("blur"), "{told}");
    assert_ne!(of_spec, of_other);
    assert_ne!(sheet(&["--seed", "5"]).0, of_spec);
    assert_eq!(sheet(&["--seed", "0"]).0, of_spec);
    let of_manifest =
        ["data", "preview", "scenes.yaml", "--root", "data", "--out", "other.png", "--set", "a=b"];
    refuses(folder.path(), &of_manifest, &["--set", "manifest"]);
}
