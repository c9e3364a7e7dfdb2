//! The identity of a run, an evaluation and a checkpoint. Other data, settings and classes are
//! refused by name. A different notation or location is accepted.

mod common;

use std::fs;
use std::path::Path;

use common::{fails, run_in, scenes};
use robustseg_models::{Checkpoint, Network};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = run_in(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

const RUN: [&str; 4] = ["run", "spec.yaml", "--out", "run"];
const RESUME: [&str; 5] = ["run", "spec.yaml", "--out", "run", "--resume"];
const LAST: &str = "run/checkpoints/last.safetensors";

#[test]
fn resuming_on_other_data_is_refused_with_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    succeeds(path, &RUN);
    let data = path.join("data");
    let provenance = fs::read(path.join("run/provenance.json")).unwrap();
    let (train, val) = (data.join("train.txt"), data.join("val.txt"));
    let lists = [&train, &val].map(|list| fs::read(list).unwrap());

    // Ids swapped between the splits.
    replace(&train, "s2\n", "s7\n");
    replace(&val, "s7\n", "s2\n");
    fails(path, &RESUME, 3, &["split train", "no longer there: s2", "new: s7", "split val", "--out"]);
    // A different order is a different training.
    fs::write(&val, &lists[1]).unwrap();
    fs::write(&train, "s1\ns0\ns2\ns3\ns4\ns5\n").unwrap();
    fails(path, &RESUME, 3, &["split train: its samples are in another order"]);
    fs::write(&train, &lists[0]).unwrap();

    // A label changed in place, with the same length and time.
    let label = data.join("labels/s3.png");
    let whole = fs::read(&label).unwrap();
    let time = fs::metadata(&label).unwrap().modified().unwrap();
    let swapped = scenes::label(3, |class| [1, 0, 2][usize::from(class)]);
    assert_eq!(swapped.len(), whole.len(), "the test needs a label of the same length");
    fs::write(&label, &swapped).unwrap();
    fs::File::options().write(true).open(&label).unwrap().set_modified(time).unwrap();
    fails(path, &RESUME, 3, &["split train: the label file has changed of s3"]);
    fs::write(&label, &whole).unwrap();

    let image = data.join("images/s6.png");
    let whole = fs::read(&image).unwrap();
    fs::write(&image, scenes::image(9)).unwrap();
    fails(path, &RESUME, 3, &["split val: the image file has changed of s6"]);
    fs::write(&image, &whole).unwrap();

    // Other classes for the same label files.
    let manifest = path.join("scenes.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    let steps = "name: steps, colour: [60, 110, 200]";
    fs::write(&manifest, text.replace("value: 1", "value: 2").replace(steps, &format!("{steps}, value: 1")))
        .unwrap();
    fails(path, &RESUME, 3, &["data.manifest.classes.1.value: 1 then, 2 now"]);
    fs::write(&manifest, text).unwrap();

    assert!(fs::read(path.join("run/provenance.json")).unwrap() == provenance, "a refusal changes nothing");
    succeeds(path, &RESUME);
}

#[test]
fn resuming_with_other_settings_names_each_key_with_both_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    succeeds(path, &RUN);
    for (set, told) in [
        ("training.learning_rate=0.02", "training.learning_rate: 0.01 then, 0.02 now"),
        ("seed=1", "seed: 0 then, 1 now"),
        ("training.method=fgsm", "training.method: basic then, fgsm now"),
        ("model.width=8", "model.width: 4 then, 8 now"),
        ("data.on_bad_sample=skip", "data.on_bad_sample: fail then, skip now"),
    ] {
        let status = if set.starts_with("data.") { 3 } else { 2 };
        fails(path, &[&RESUME[..], &["--set", set]].concat(), status, &[told, "run"]);
    }
}

#[test]
fn settings_that_do_not_affect_weights_may_change_on_resuming() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    let weights = common::checkpoint(path);
    let pretrained = |file: &str| format!("model.pretrained={file}");
    succeeds(path, &[&RUN[..], &["--set", &pretrained("model.safetensors")]].concat());
    let last = fs::read(path.join(LAST)).unwrap();
    let invocations = || json(&path.join("run/provenance.json"))["invocations"].as_array().unwrap().clone();

    // The manifest gets comments, Windows line ends and spelled-out values. Data, weights, spec and
    // manifest move. Name, device, evaluation and saving change.
    let manifest = fs::read_to_string(path.join("scenes.yaml")).unwrap();
    let manifest = format!("# Scenes.\n{}", manifest.replace(", value: 1", "")).replace('\n', "\r\n");
    let elsewhere = path.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("other.yaml"), manifest.replace("citation: none", "citation: us")).unwrap();
    fs::remove_file(path.join("scenes.yaml")).unwrap();
    fs::rename(path.join("data"), elsewhere.join("moved")).unwrap();
    fs::rename(&weights, elsewhere.join("weights.safetensors")).unwrap();
    let spec = fs::read_to_string(path.join("spec.yaml")).unwrap();
    let spec = spec.replace("scenes.yaml", "other.yaml").replace("root: data", "root: moved");
    fs::write(elsewhere.join("renamed.yaml"), spec.replace("name: scenes", "name: others")).unwrap();
    let resume = ["run", "elsewhere/renamed.yaml", "--out", "run", "--resume", "--device", "cpu"];
    let moved = pretrained("weights.safetensors");
    let settings = [
        &moved,
        "evaluation.limit=2",
        "evaluation.curves=[{fgsm: {epsilons: [0, 0.01]}}]",
        "training.checkpoint_every=7",
        "training.validation_limit=2",
    ];
    let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    succeeds(path, &[&resume[..], &set].concat());
    assert!(last == fs::read(path.join(LAST)).unwrap(), "the training was over");
    let evaluation = json(&path.join("run/evaluation.json"));
    assert_eq!(evaluation["curves"][0]["points"].as_array().unwrap().len(), 2, "it was evaluated again");
    let provenance = json(&path.join("run/provenance.json"));
    assert!(provenance["data"]["root"].as_str().unwrap().ends_with("/data"), "nothing of before is replaced");
    assert_eq!(invocations().len(), 2);
    let changes = invocations()[1]["changes"].to_string();
    for part in ["data.root", "evaluation.limit: not set then, 2 now", "name: scenes then, others now"] {
        assert!(changes.contains(part) || part.contains("not set"), "{part}: {changes}");
    }

    // Weights with another content are other weights. Weights that are gone are not needed to
    // resume.
    common::checkpoint(path);
    Network::new(&common::tiny(), 9, &candle_core::Device::Cpu).unwrap().save(&weights).unwrap();
    let other = [&resume[..], &["--set", "model.pretrained=../model.safetensors"]].concat();
    fails(path, &other, 3, &["model.pretrained"]);
    fs::remove_file(elsewhere.join("weights.safetensors")).unwrap();
    fails(path, &[&resume[..], &set].concat(), 3, &["weights.safetensors"]);
}

#[test]
fn a_run_resumes_without_its_pretrained_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    let weights = common::checkpoint(path);
    let pretrained = ["--set", "model.pretrained=model.safetensors"];
    succeeds(path, &[&RUN[..], &pretrained].concat());
    fs::remove_file(&weights).unwrap();
    succeeds(path, &[&RESUME[..], &pretrained].concat());
    fails(
        path,
        &["run", "spec.yaml", "--out", "new", pretrained[0], pretrained[1]],
        3,
        &["model.safetensors"],
    );
}

#[test]
fn a_directory_of_an_older_version_is_reported_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    succeeds(path, &RUN);
    let file = path.join("run/provenance.json");
    let mut provenance = json(&file);
    provenance.as_object_mut().unwrap().remove("identity");
    fs::write(&file, provenance.to_string()).unwrap();
    fails(path, &RESUME, 2, &["older robustseg", "--out"]);
    fs::write(&file, "{}").unwrap();
    fails(path, &RESUME, 3, &["provenance.json", "is not what robustseg writes"]);
}

#[test]
fn a_checkpoint_knows_its_classes_and_its_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    succeeds(path, &[&RUN[..], &["--set", "seed=5", "--set", "training.method=fgsm"]].concat());
    let Checkpoint { network, origin } =
        Checkpoint::load(&path.join(LAST), &candle_core::Device::Cpu).unwrap();
    let classes = origin.classes.unwrap();
    assert_eq!(
        classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>(),
        ["ground", "stripes", "steps"]
    );
    assert_eq!(classes[1].colour, [200, 80, 60]);
    let training = origin.training.unwrap();
    assert_eq!((training.method.as_str(), training.seed, training.step), ("fgsm", 5, 3));
    assert_eq!(training.spec_sha256.len(), 64);
    assert_eq!(json(&path.join("run/evaluation.json"))["training"]["method"], "fgsm");

    // Evaluated by the spec of another training, a checkpoint reports its own.
    let evaluate = ["evaluate", "spec.yaml", "--checkpoint", LAST, "--out", "alone"];
    let told = succeeds(path, &evaluate);
    assert!(told.contains("method fgsm, seed 5, step 3"), "{told}");
    let evaluation = json(&path.join("alone/evaluation.json"));
    assert_eq!(evaluation["training"]["seed"], 5);
    assert_eq!(evaluation["training"]["step"], 3);
    let provenance = json(&path.join("alone/provenance.json"));
    assert_eq!(provenance["checkpoint"]["training"]["method"], "fgsm");
    assert_eq!(provenance["checkpoint"]["sha256"], evaluation["checkpoint"]);
    assert_eq!(json(&path.join("run/evaluation.json"))["checkpoint"], evaluation["checkpoint"]);
    let report = fs::read_to_string(path.join("alone/report.html")).unwrap();
    assert!(report.contains("FGSM") && !report.contains("Basic"));

    // A checkpoint that does not record its training is loaded, and nothing is invented.
    network.save(&path.join("plain.safetensors")).unwrap();
    let told =
        succeeds(path, &["evaluate", "spec.yaml", "--checkpoint", "plain.safetensors", "--out", "plain"]);
    assert!(told.contains("method, seed and step unknown"), "{told}");
    assert_eq!(json(&path.join("plain/evaluation.json"))["training"], "unknown");
    let report = fs::read_to_string(path.join("plain/report.html")).unwrap();
    assert!(report.contains("unknown") && !report.contains("Basic"));
}

#[test]
fn classes_of_another_name_or_order_are_refused_unless_a_flag_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    succeeds(path, &RUN);
    // The same classes, with two of them exchanged.
    let manifest = fs::read_to_string(path.join("scenes.yaml")).unwrap();
    let line = |name: &str| manifest.lines().find(|line| line.contains(name)).unwrap().to_owned();
    let (stripes, steps) = (line("name: stripes"), line("name: steps"));
    let valued = steps.replace('}', ", value: 2}");
    let swapped = manifest.replace(&stripes, "#").replace(&steps, &format!("{valued}\n{stripes}"));
    fs::write(path.join("swapped.yaml"), swapped).unwrap();
    let told = ["class 1 is `stripes`", "class 1 of the data scenes is `steps`", "--ignore-classes"];
    let evaluate = ["evaluate", "spec.yaml", "--checkpoint", LAST, "--set", "data.manifest=swapped.yaml"];
    fails(path, &evaluate, 3, &told);
    succeeds(path, &[&evaluate[..], &["--ignore-classes"]].concat());
    let image = "data/images/s0.png";
    let predict = ["predict", "--checkpoint", LAST, "--out", "seen", image];
    let with_manifest = [&predict[..], &["--manifest", "swapped.yaml"]].concat();
    fails(path, &with_manifest, 3, &told);
    assert!(!path.join("seen").exists(), "nothing is written");
    succeeds(path, &[&with_manifest[..], &["--ignore-classes"]].concat());
    fails(path, &[&RESUME[..], &["--set", "data.manifest=swapped.yaml"]].concat(), 3, &["classes.1.name"]);

    // By default a prediction uses the checkpoint's colours.
    succeeds(path, &predict);
    let file = fs::File::open(path.join("seen/s0.png")).unwrap();
    let reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    assert_eq!(&reader.info().palette.as_ref().unwrap()[..9], [20, 20, 20, 200, 80, 60, 60, 110, 200]);
}

/// Copies the folder `from` to `to`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

fn compare<'a>(runs: &[&'a str]) -> Vec<&'a str> {
    [&["compare"], runs, &["--out", "compared"]].concat()
}

#[test]
fn seeds_are_trainings_of_other_seeds_on_the_same_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    scenes::write(path);
    for (out, seed) in [("zero", "seed=0"), ("one", "seed=1")] {
        succeeds(path, &["run", "spec.yaml", "--out", out, "--set", seed]);
    }
    let seeds = || fs::read_to_string(path.join("compared/tables/seeds.csv")).unwrap_or_default();
    succeeds(path, &compare(&["zero", "one"]));
    assert!(seeds().lines().nth(1).unwrap().contains(",2,"), "{}", seeds());
    let times = fs::read_to_string(path.join("compared/tables/time.csv")).unwrap();
    assert!(times.contains("cpu: ") && times.contains(" thread"), "{times}");

    fails(path, &compare(&["zero", "./zero"]), 2, &["zero and ./zero", "same directory"]);
    copy(&path.join("zero"), &path.join("copy"));
    fails(path, &compare(&["zero", "one", "copy"]), 2, &["zero and copy", "same checkpoint"]);

    // An evaluation by the spec of another training has its checkpoint's method and seed.
    let checkpoint = "one/checkpoints/last.safetensors";
    let evaluate = ["evaluate", "spec.yaml", "--checkpoint", checkpoint, "--out", "alone"];
    succeeds(path, &[&evaluate[..], &["--set", "training.method=fgsm", "--set", "name=alone"]].concat());
    succeeds(path, &compare(&["zero", "alone"]));
    assert!(seeds().lines().nth(1).unwrap().contains(",2,"), "{}", seeds());
    fails(path, &compare(&["one", "alone"]), 2, &["same checkpoint"]);

    // Trained on other labels and evaluated on the same ones: not a further seed. Evaluated on
    // other labels: not comparable.
    fs::remove_dir_all(path.join("compared")).unwrap();
    fs::write(path.join("data/labels/s1.png"), scenes::label(1, |class| 2 - class)).unwrap();
    succeeds(path, &["run", "spec.yaml", "--out", "other", "--set", "seed=2"]);
    succeeds(path, &compare(&["zero", "other"]));
    assert_eq!(seeds(), "");
    fs::write(path.join("data/labels/s7.png"), scenes::label(7, |class| 2 - class)).unwrap();
    succeeds(path, &["run", "spec.yaml", "--out", "more", "--set", "seed=3"]);
    fails(path, &compare(&["zero", "more"]), 3, &["zero and more", "images or labels"]);
}
