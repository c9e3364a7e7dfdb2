//! Missing, broken and unsuitable data, as reported by `check`, `run` and `data check`.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use common::{fails, refuses, robustseg, run_in, succeeds};
use robustseg_files::sha256;
use serde_json::Value;

/// An image of 48 x 40 pixels, a colour ramp.
const JPEG: &[u8] = include_bytes!("files/ramp.jpg");
const WIDTH: u32 = 48;
const HEIGHT: u32 = 40;

const MANIFEST: &str = "name: tiny
folder: tiny
layout: pairs
classes:
  - {name: left, colour: [0, 0, 0]}
  - {name: right, colour: [255, 0, 0]}
ignored: [2]
splits:
  train: {file: train.txt, count: 3}
  val: {file: val.txt, count: 1}
citation: none
licence: none
obtain: ask the neighbour for it
";

/// Its crops contain whole images. Training decodes only the rows that a crop needs, and finds
/// faults only in those.
const SPEC: &str = "name: tiny
data: {manifest: tiny.yaml, root: tiny}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: fgsm
  epochs: 1
  batch_size: 3
  augmentation: {crop: 32, scale: [0.5, 0.5]}
evaluation:
  curves: [{fgsm: {epsilons: [0, 0.02]}}]
  examples: 1
";

/// A label map of `width` x `height`: 0 on the left, 1 on the right, and `odd` in one pixel.
fn label(width: u32, height: u32, odd: u8) -> Vec<u8> {
    let mut values: Vec<u8> = (0..width * height).map(|i| u8::from(i % width >= width / 2)).collect();
    values[5] = odd;
    png(&values, width, height, png::ColorType::Grayscale)
}

fn png(data: &[u8], width: u32, height: u32, colour: png::ColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

/// Fills `folder` with a manifest, a spec, and a dataset without faults: three JPEG images and a
/// PNG.
fn tiny(folder: &Path) {
    fs::write(folder.join("tiny.yaml"), MANIFEST).unwrap();
    fs::write(folder.join("spec.yaml"), SPEC).unwrap();
    let root = folder.join("tiny");
    fs::create_dir_all(&root).unwrap();
    let mut train = String::new();
    for index in 0..3 {
        fs::write(root.join(format!("{index}.jpg")), JPEG).unwrap();
        fs::write(root.join(format!("{index}.png")), label(WIDTH, HEIGHT, 2)).unwrap();
        train += &format!("{index}.jpg {index}.png\n");
    }
    let image: Vec<u8> = (0..WIDTH * HEIGHT * 3).map(|i| (i % 251) as u8).collect();
    fs::write(root.join("v.png"), png(&image, WIDTH, HEIGHT, png::ColorType::Rgb)).unwrap();
    fs::write(root.join("v_label.png"), label(WIDTH, HEIGHT, 255)).unwrap();
    fs::write(root.join("train.txt"), train).unwrap();
    fs::write(root.join("val.txt"), "v.png v_label.png\n").unwrap();
}

const CHECK: [&str; 2] = ["check", "spec.yaml"];
const DATA_CHECK: [&str; 5] = ["data", "check", "tiny.yaml", "--root", "tiny"];

#[test]
fn sound_data_is_checked_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    for arguments in [&CHECK[..], &DATA_CHECK, &["run", "spec.yaml", "--out", "a run, wïth spaces"]] {
        let output = run_in(folder.path(), arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(folder.path().join("a run, wïth spaces/report.html").is_file());
    let output = run_in(folder.path(), &[&DATA_CHECK[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["splits"][0]["count"], 3);
    assert_eq!(report["splits"][1]["ignored_pixels"], 1);
    let output = run_in(folder.path(), &["check", "spec.yaml", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["total_steps"], 1);
}

#[test]
fn missing_data_says_where_it_was_looked_for_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tiny.yaml"), MANIFEST).unwrap();
    fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    let place = folder.path().join("tiny").display().to_string();
    for arguments in [&CHECK[..], &["run", "spec.yaml"]] {
        fails(folder.path(), arguments, 3, &[&place, "ask the neighbour"]);
    }
    fails(folder.path(), &DATA_CHECK, 3, &["tiny is missing", "ask the neighbour"]);
    fs::write(folder.path().join("spec.yaml"), SPEC.replace(", root: tiny", "")).unwrap();
    fails(folder.path(), &CHECK, 3, &["data.root", "$ROBUSTSEG_DATA", "ask the neighbour"]);
    fs::write(folder.path().join("spec.yaml"), SPEC.replace("tiny.yaml", "none.yaml")).unwrap();
    fails(folder.path(), &CHECK, 3, &["none.yaml"]);
}

#[test]
fn data_that_is_not_free_is_not_fetched_and_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data-manifests");
    let fetch = |name: &str| {
        let manifest = manifests.join(name).display().to_string();
        ["data".to_owned(), "fetch".into(), manifest, "--root".into(), "here".into()]
    };
    for (name, source) in [("cityscapes.yaml", "register at https"), ("camvid.yaml", "clone https")] {
        let arguments = fetch(name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fails(folder.path(), &arguments, 3, &[source, "The folder for it is here"]);
    }
    let arguments = fetch("synthetic.yaml");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run_in(folder.path(), &arguments);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("nothing to fetch"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

#[test]
fn an_archive_that_cannot_be_reached_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // A server that answers one request, without the file.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    });
    let archive = format!("url: 'http://{address}/tiny.tar', md5: {}, folder: tiny", "a".repeat(32));
    fs::write(folder.path().join("tiny.yaml"), format!("{MANIFEST}archives: [{{{archive}}}]\n")).unwrap();
    fails(
        folder.path(),
        &["data", "fetch", "tiny.yaml", "--root", "tiny"],
        3,
        &["404", &format!("http://{address}/tiny.tar"), "By hand: put the archive at tiny/tiny.tar"],
    );
    server.join().unwrap();
}

/// Standard error of a successful check with its cache below `folder`, and its report.
fn cached_check(folder: &Path, more: &[&str]) -> (String, Value) {
    let arguments = [&DATA_CHECK[..], &["--json"], more].concat();
    let cache = folder.join("cache");
    let output = robustseg(&arguments).env("XDG_CACHE_HOME", cache).current_dir(folder).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    (error, serde_json::from_slice(&output.stdout).unwrap())
}

const CACHED: &str = "no file has changed";

#[test]
fn a_second_check_is_cached_until_anything_changes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    let (told, first) = cached_check(folder, &[]);
    assert!(!told.contains(CACHED), "{told}");
    // `printf '%s %s %s\n' $(sha256sum < v.png) $(sha256sum < v_label.png) v`
    let hash = |name: &str| sha256(fs::read(folder.join("tiny").join(name)).unwrap());
    let lines = format!("{} {} v\n", hash("v.png"), hash("v_label.png"));
    assert_eq!(first["splits"][1]["files_sha256"], sha256(lines.as_bytes()));
    let is_cached = |expected: bool| {
        let (told, report) = cached_check(folder, &[]);
        assert_eq!(told.contains(CACHED), expected, "{told}");
        report
    };
    assert_eq!(is_cached(true), first);
    assert!(!cached_check(folder, &["--fresh"]).0.contains(CACHED));

    // The pixels of an image change.
    let image = folder.join("tiny/0.png");
    let before = fs::read(&image).unwrap();
    fs::write(&image, label(WIDTH, HEIGHT, 1)).unwrap();
    let second = is_cached(false);
    assert_ne!(second["splits"][0]["files_sha256"], first["splits"][0]["files_sha256"]);
    is_cached(true);
    // A file with a new time, another manifest, another list.
    fs::write(&image, before).unwrap();
    assert_eq!(is_cached(false), first);
    fs::write(folder.join("tiny.yaml"), MANIFEST.replace("name: left", "name: west")).unwrap();
    is_cached(false);
    let reversed = "2.jpg 2.png\n1.jpg 1.png\n0.jpg 0.png\n";
    fs::write(folder.join("tiny/train.txt"), reversed).unwrap();
    is_cached(false);
    is_cached(true);

    let entries = fs::read_dir(folder.join("cache/robustseg/checks")).unwrap();
    let entries: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let whole = fs::read_to_string(entry).unwrap();
    for damaged in ["", &whole[..whole.len() / 2], &whole.replace("\"count\":3", "\"count\":4"), "\u{0}"] {
        assert_ne!(damaged, whole);
        fs::write(entry, damaged).unwrap();
        let (told, _) = cached_check(folder, &[]);
        assert!(told.contains("damaged and ignored") && !told.contains(CACHED), "{told}");
        is_cached(true);
    }
}

#[test]
fn a_broken_file_is_reported_each_time_and_kinds_once() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    for index in 0..3 {
        fs::write(folder.path().join(format!("tiny/{index}.png")), label(WIDTH, HEIGHT, 7)).unwrap();
    }
    fs::write(folder.path().join("tiny/v.png"), b"").unwrap();
    for _ in 0..2 {
        let output = run_in(folder.path(), &DATA_CHECK);
        assert_eq!(output.status.code(), Some(3));
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.matches("label values outside the class table: 3 of 3 samples").count(), 1, "{told}");
        assert_eq!(told.matches("is empty: 1 of 1 sample; obtain").count(), 1, "{told}");
        assert!(told.contains("2.png: value 7"), "{told}");
    }
}

/// Spoils the dataset and requires that both checks and the run end with status 3 and name `parts`.
fn spoilt(spoil: impl Fn(&Path), parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    spoil(&folder.path().join("tiny"));
    for arguments in [&CHECK[..], &["run", "spec.yaml"]] {
        fails(folder.path(), arguments, 3, parts);
    }
    let output = run_in(folder.path(), &DATA_CHECK);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn an_image_without_its_label_is_named() {
    spoilt(|root| fs::remove_file(root.join("1.png")).unwrap(), &["1.png", "label"]);
    spoilt(|root| fs::remove_file(root.join("v.png")).unwrap(), &["v.png", "image"]);
}

#[test]
fn sizes_that_differ_are_named() {
    let other = |root: &Path| fs::write(root.join("1.png"), label(HEIGHT, WIDTH, 0)).unwrap();
    spoilt(other, &["1.jpg", "48x40", "1.png", "40x48"]);
}

#[test]
fn a_label_value_outside_the_class_table_is_named_with_its_pixel() {
    let other = |root: &Path| fs::write(root.join("2.png"), label(WIDTH, HEIGHT, 7)).unwrap();
    spoilt(other, &["2.png", "7"]);
}

#[test]
fn half_a_picture_is_an_error() {
    spoilt(|root| fs::write(root.join("0.jpg"), &JPEG[..JPEG.len() * 2 / 3]).unwrap(), &["0.jpg"]);
    let whole = label(WIDTH, HEIGHT, 0);
    spoilt(|root| fs::write(root.join("0.png"), &whole[..whole.len() - 30]).unwrap(), &["0.png"]);
    spoilt(|root| fs::write(root.join("0.png"), JPEG).unwrap(), &["0.png"]);
    spoilt(|root| fs::write(root.join("0.jpg"), b"").unwrap(), &["0.jpg"]);
}

#[test]
fn other_counts_and_lists_are_named() {
    spoilt(
        |root| fs::write(root.join("train.txt"), "0.jpg 0.png\n1.jpg 1.png\n").unwrap(),
        &["3", "2", "train"],
    );
    let twice = "0.jpg 0.png\n0.jpg 0.png\n1.jpg 1.png\n";
    spoilt(|root| fs::write(root.join("train.txt"), twice).unwrap(), &["train.txt:2"]);
    spoilt(|root| fs::write(root.join("val.txt"), "v.png\n").unwrap(), &["val.txt:1"]);
}

#[test]
fn a_split_that_is_not_there_and_a_batch_that_is_too_large_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    let with = |set: &'static str| ["check", "spec.yaml", "--set", set];
    fails(folder.path(), &with("data.train_split=trainaug"), 3, &["trainaug", "train, val"]);
    fails(folder.path(), &with("training.batch_size=4"), 2, &["training.batch_size", "3 samples"]);
}

#[test]
fn a_picture_that_is_broken_ends_the_training_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path());
    // The check of a run opens the data without decoding all of it, so the loader finds the fault.
    fs::write(folder.path().join("tiny/1.jpg"), &JPEG[..300]).unwrap();
    fails(folder.path(), &["run", "spec.yaml"], 3, &["1.jpg"]);
}

/// The events of one kind from the run in `folder`/run.
fn events(folder: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("run/events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == kind).collect()
}

const PREPARE: [&str; 7] = ["data", "prepare", "tiny.yaml", "--root", "tiny", "--out", "packs"];

#[test]
fn a_run_from_a_cache_is_the_run_from_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    tiny(path);
    let prepared = |what: &str| {
        let output = run_in(path, &PREPARE);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(what), "{text}");
    };
    let run = |out: &str, cache: &[&str]| {
        let output = run_in(path, &[&["run", "spec.yaml", "--out", out][..], cache].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| fs::read(path.join(out).join(name)).unwrap();
        let provenance: Value = serde_json::from_slice(&read("provenance.json")).unwrap();
        (read("checkpoints/last.safetensors"), provenance)
    };
    let with_cache = ["--set", "data.cache=packs"];
    fails(path, &[&CHECK[..], &with_cache].concat(), 3, &["train.pack", "robustseg data prepare"]);
    prepared("was made");
    prepared("is up to date");
    let (files, plain) = run("files", &[]);
    let (cached, provenance) = run("cached", &with_cache);
    assert!(files == cached);
    assert_eq!(plain["fingerprint"], provenance["fingerprint"]);
    assert!(plain["data"].get("cache").is_none());
    assert!(provenance["data"]["cache"].as_str().unwrap().ends_with("packs"));

    fs::write(path.join("tiny/1.png"), label(WIDTH, HEIGHT, 0)).unwrap();
    fails(path, &[&CHECK[..], &with_cache].concat(), 3, &["older than the files of sample 1", "prepare"]);
    prepared("was made again");
    run("again", &with_cache);
}

#[test]
fn a_bad_sample_ends_a_run_or_is_skipped_as_the_spec_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    tiny(path);
    fs::write(path.join("tiny/1.jpg"), &JPEG[..JPEG.len() / 2]).unwrap();
    let run = ["run", "spec.yaml", "--out", "run"];
    fails(path, &run, 3, &["1.jpg", "truncated JPEG"]);
    fs::remove_dir_all(path.join("run")).unwrap();
    let skip = [&run[..], &["--set", "data.on_bad_sample=skip"]].concat();
    let output = run_in(path, &skip);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 bad training sample skipped") && told.contains("1.jpg"), "{told}");
    let skipped = events(path, "sample_skipped");
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0]["sample"], "1");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("tiny/1.jpg: truncated JPEG"), "{skipped:?}");

    fs::remove_dir_all(path.join("run")).unwrap();
    fs::write(path.join("tiny/2.jpg"), "").unwrap();
    fails(path, &skip, 3, &["2 of 3 samples are broken, 1 may be skipped", "1.jpg", "2.jpg"]);
    fails(path, &[&run[..], &["--set", "data.on_bad_sample=ignore"]].concat(), 2, &["on_bad_sample"]);
}

#[test]
fn a_preview_is_a_picture_of_rows_of_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    tiny(path);
    let preview = ["data", "preview", "tiny.yaml", "--root", "tiny", "--out", "sheet.png", "--crop", "32"];
    let output = run_in(path, &[&preview[..], &["--count", "2"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("0: 48x40; ") && text.contains("1: 48x40; "), "{text}");
    let sheet = robustseg_datasets::read_image(&path.join("sheet.png")).unwrap();
    let legend = 20;
    // Images of 288 x 240, each twice, and two crops of 240 x 240, each twice, with white between
    // them, and one line of the legend.
    assert_eq!((sheet.width, sheet.height), (2 * 296 + 4 * 248 + 8, 2 * 248 + 8 + legend));
    fails(path, &[&preview[..], &["--count", "0"]].concat(), 2, &["--count"]);
    fails(path, &[&preview[..], &["--split", "none"]].concat(), 3, &["no split `none`"]);
}

#[test]
fn a_preview_and_packs_replace_themselves_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    let preview =
        |out: &'static str| ["data", "preview", "tiny.yaml", "--root", "tiny", "--crop", "16", "--out", out];
    let prepare = |out: &'static str| ["data", "prepare", "tiny.yaml", "--root", "tiny", "--out", out];
    for _ in 0..2 {
        succeeds(folder, &preview("sheet.png"));
        succeeds(folder, &prepare("packs"));
    }
    fs::write(folder.join("photo.png"), label(WIDTH, HEIGHT, 0)).unwrap();
    refuses(folder, &preview("photo.png"), &["photo.png", "--out"]);
    refuses(folder, &preview("tiny/1.png"), &["tiny/1.png"]);
    refuses(folder, &preview("tiny/new.png"), &["tiny/new.png", "would lie in tiny"]);
    refuses(folder, &preview("tiny.yaml"), &["tiny.yaml", "is read"]);
    refuses(folder, &preview("packs"), &["is a folder"]);
    refuses(folder, &preview("none/sheet.png"), &["no folder none"]);

    refuses(folder, &prepare("tiny"), &["tiny", "dataset's folder"]);
    refuses(folder, &prepare("tiny/cache"), &["tiny/cache", "dataset's folder"]);
    refuses(folder, &prepare("."), &["--out"]);
    refuses(folder, &prepare("tiny.yaml"), &["tiny.yaml"]);
    fs::create_dir(folder.join("other")).unwrap();
    fs::write(folder.join("other/train.pack"), "the words of a poem").unwrap();
    refuses(folder, &prepare("other"), &["train.pack", "no pack"]);
    fs::write(folder.join("packs/notes.txt"), "mine").unwrap();
    refuses(folder, &prepare("packs"), &["packs", "notes.txt"]);
    refuses(folder, &["data", "fetch", "tiny.yaml", "--root", "tiny.yaml"], &["tiny.yaml", "is a file"]);
}
