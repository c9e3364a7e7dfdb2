//! Images of any size, missing labels, batches of one and incomplete batches.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{robustseg, run_in};

/// Width, height, and whether any pixel is labelled.
const IMAGES: [(u32, u32, bool); 5] =
    [(1, 1, true), (40, 1, true), (1, 40, true), (29, 13, false), (37, 51, true)];

pub fn png(width: u32, height: u32, colour: png::ColorType, value: impl Fn(u32) -> u8) -> Vec<u8> {
    let samples = if colour == png::ColorType::Rgb { 3 } else { 1 };
    let data: Vec<u8> = (0..width * height * samples).map(value).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    bytes
}

/// Writes the images with their labels, a manifest and a spec.
fn odd_images(folder: &Path) {
    let root = folder.join("odd");
    fs::create_dir(&root).unwrap();
    for (index, (width, height, labelled)) in IMAGES.into_iter().enumerate() {
        let image = png(width, height, png::ColorType::Rgb, |i| (i * 37 % 251) as u8);
        let label =
            png(width, height, png::ColorType::Grayscale, |i| if labelled { (i % 2) as u8 } else { 255 });
        fs::write(root.join(format!("{index}.png")), image).unwrap();
        fs::write(root.join(format!("{index}_label.png")), label).unwrap();
    }
    let line = |index: usize| format!("{index}.png {index}_label.png\n");
    fs::write(root.join("all.txt"), (0..IMAGES.len()).map(line).collect::<String>()).unwrap();
    fs::write(root.join("none.txt"), line(3)).unwrap();
    let manifest = "name: odd
folder: odd
layout: pairs
classes: [{name: left, colour: [0, 0, 0]}, {name: right, colour: [255, 0, 0]}]
ignored: [255]
splits:
  train: {file: all.txt, count: 5}
  val: {file: all.txt, count: 5, may_overlap: [train, none]}
  none: {file: none.txt, count: 1, may_overlap: [train]}
citation: none
licence: none
obtain: nowhere
";
    fs::write(folder.join("odd.yaml"), manifest).unwrap();
    let spec = "name: odd
data: {manifest: odd.yaml, root: odd}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: bim
  epochs: 2
  batch_size: 1
  adversarial_probability: 1
  augmentation: {crop: 19}
evaluation:
  batch_size: 3
  curves: [{fgsm: {epsilons: [0, 0.02]}}]
  examples: 5
";
    fs::write(folder.join("spec.yaml"), spec).unwrap();
}

fn steps(folder: &Path, out: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(out).join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == "step").collect()
}

#[test]
fn images_of_any_size_in_batches_of_any_size_are_trained_and_evaluated_on() {
    let folder = tempfile::tempdir().unwrap();
    odd_images(folder.path());
    // Five images: batches of two leave out one image per epoch.
    for (batch, crop, count) in [("1", "19", 10), ("2", "19", 4), ("5", "8", 2), ("1", "8", 10)] {
        let set = [format!("training.batch_size={batch}"), format!("training.augmentation.crop={crop}")];
        let out = format!("run_{batch}_{crop}");
        let arguments = ["run", "spec.yaml", "--out", &out, "--set", &set[0], "--set", &set[1]];
        let output = run_in(folder.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let steps = steps(folder.path(), &out);
        assert_eq!(steps.len(), count);
        // A value that is not finite would be null.
        assert!(steps.iter().all(|step| step["loss"].is_f64()), "{steps:?}");
        let evaluation: Value =
            serde_json::from_slice(&fs::read(folder.path().join(&out).join("evaluation.json")).unwrap())
                .unwrap();
        assert!(evaluation["clean"]["miou"].is_f64());
    }
    let checkpoint = "run_1_19/checkpoints/last.safetensors";
    let images: Vec<String> = (0..IMAGES.len()).map(|index| format!("odd/{index}.png")).collect();
    let predict = ["predict", "--checkpoint", checkpoint, "--out", "maps"].into_iter();
    let arguments: Vec<&str> = predict.chain(images.iter().map(String::as_str)).collect();
    assert!(run_in(folder.path(), &arguments).status.success());
    for (index, (width, height, _)) in IMAGES.into_iter().enumerate() {
        let map = robustseg_datasets::read_image(&folder.path().join(format!("maps/{index}.png"))).unwrap();
        assert_eq!((map.width, map.height), (width as usize, height as usize));
    }
}

#[test]
fn a_batch_without_a_labelled_pixel_has_a_loss_of_zero() {
    let folder = tempfile::tempdir().unwrap();
    odd_images(folder.path());
    let set = ["--set", "data.train_split=none", "--set", "training.weight_decay=0"];
    let arguments = [&["run", "spec.yaml", "--out", "run"][..], &set].concat();
    let output = run_in(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let steps = steps(folder.path(), "run");
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|step| step["loss"] == 0.0), "{steps:?}");
    // No weight has changed: they equal those of one-step runs that differ only in their seed.
    let read = |out: &str| {
        let bytes = fs::read(folder.path().join(out).join("checkpoints/last.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let weights = file.tensors().into_iter().filter(|(name, _)| !name.contains("running"));
        weights.map(|(name, view)| (name, view.data().to_vec())).collect::<std::collections::BTreeMap<_, _>>()
    };
    let once = [&["run", "spec.yaml", "--out", "once", "--set", "training.epochs=1"][..], &set].concat();
    assert!(run_in(folder.path(), &once).status.success());
    assert!(read("run") == read("once"));

    // An evaluation without labels has no result.
    let nothing = ["run", "spec.yaml", "--out", "nothing", "--set", "data.validation_split=none"];
    let mut command = robustseg(&nothing);
    command.current_dir(folder.path());
    crate::short_run::fails(command, 3, &["at least one labelled pixel"]);
}
