//! Data in which every file is intact but means something other than it seems.

mod common;

use std::fs;
use std::path::Path;

use candle_core::Device;
use common::{fails, run_in};
use robustseg_models::{Network, NetworkConfig, PspNetConfig};

/// An image of 48 x 40 pixels, a colour ramp.
const JPEG: &[u8] = include_bytes!("files/ramp.jpg");
const WIDTH: u32 = 48;
const HEIGHT: u32 = 40;

const SPEC: &str = "name: tiny
data: {manifest: tiny.yaml, root: tiny}
model: {layers: [1, 1, 1, 1], width: 4}
training: {method: basic, epochs: 1, batch_size: 2, augmentation: {scale: [1.0, 1.0], crop: 32}}
evaluation: {curves: [{fgsm: {epsilons: [0, 0.02]}}], examples: 1}
";

const MANIFEST: &str = "name: tiny
folder: tiny
layout:
  folders:
    images: {folder: '{split}/images', suffix: .png}
    labels: {folder: '{split}/labels', suffix: .png}
classes:
  - {name: skin, colour: [0, 0, 0]}
  - {name: lesion, colour: [255, 0, 0]}
splits:
  train: {count: 2}
  val: {count: 1}
citation: none
licence: none
obtain: ask the neighbour
";

const CHECK: &[&str] = &["check", "spec.yaml"];
const RUN: &[&str] = &["run", "spec.yaml", "--out", "run"];
const DATA_CHECK: &[&str] = &["data", "check", "tiny.yaml", "--root", "tiny"];

fn write_png(path: &Path, data: &[u8], colour: png::ColorType, palette: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, WIDTH, HEIGHT);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(palette.to_vec());
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
}

/// Writes one image, another one for every `seed`.
fn write_image(path: &Path, seed: u32) {
    let data: Vec<u8> = (0..WIDTH * HEIGHT * 3).map(|at| ((at * (7 + seed)) % 251) as u8).collect();
    write_png(path, &data, png::ColorType::Rgb, &[]);
}

/// A label map with `left` on the left and `right` on the right.
fn halves(left: u8, right: u8) -> Vec<u8> {
    (0..WIDTH * HEIGHT).map(|at| if at % WIDTH < WIDTH / 2 { left } else { right }).collect()
}

/// Writes the samples of [`MANIFEST`] with labels `left` and `right`.
fn tiny(folder: &Path, left: u8, right: u8) {
    fs::write(folder.join("tiny.yaml"), MANIFEST).unwrap();
    fs::write(folder.join("spec.yaml"), SPEC).unwrap();
    for (seed, (split, id)) in [("train", "0"), ("train", "1"), ("val", "0")].into_iter().enumerate() {
        let path = |what: &str| folder.join("tiny").join(split).join(what).join(format!("{id}.png"));
        write_image(&path("images"), seed as u32);
        write_png(&path("labels"), &halves(left, right), png::ColorType::Grayscale, &[]);
    }
}

/// Standard output and error of a command that must succeed.
fn told(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = run_in(folder, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{error}");
    (out, error)
}

#[test]
fn a_class_that_no_pixel_has_is_a_warning_everywhere_until_its_value_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder, 0, 255);
    let warning = "no pixel is labelled `lesion`; if it is 255 in the label files, give it `value: 255`";
    let (out, _) = told(folder, DATA_CHECK);
    assert_eq!(out.matches(warning).count(), 2, "{out}");
    let (_, error) = told(folder, CHECK);
    assert!(error.contains(&format!("split train: {warning}")) && error.contains("split val: "), "{error}");
    let (out, error) = told(folder, RUN);
    assert!(error.contains(warning) && out.contains(warning), "{out}{error}");
    let report = fs::read_to_string(folder.join("run/report.html")).unwrap();
    assert!(report.contains("split val: no pixel is labelled `lesion`"));
    let evaluate = ["evaluate", "--checkpoint", "run/checkpoints/last.safetensors", "spec.yaml"];
    let (out, error) = told(folder, &evaluate);
    assert!(out.contains(warning) && error.contains(warning), "{out}{error}");

    let manifest = MANIFEST.replace("[255, 0, 0]}", "[255, 0, 0], value: 255}");
    fs::write(folder.join("tiny.yaml"), manifest).unwrap();
    for command in [DATA_CHECK, CHECK, &["run", "spec.yaml", "--out", "other"]] {
        let (out, error) = told(folder, command);
        assert!(!(out + &error).contains("no pixel is labelled"));
    }
    let report = fs::read_to_string(folder.join("other/report.html")).unwrap();
    assert!(!report.contains("no pixel is labelled"));
}

#[test]
fn a_manifest_of_one_class_is_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 0, 255);
    let one = MANIFEST.replace("  - {name: lesion, colour: [255, 0, 0]}\n", "");
    fs::write(folder.path().join("tiny.yaml"), one).unwrap();
    for command in [DATA_CHECK, CHECK, RUN] {
        fails(folder.path(), command, 3, &["tiny.yaml", "classes", "at least 2"]);
    }
}

#[test]
fn a_palette_of_the_classes_colours_in_another_order_is_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder, 0, 1);
    let permuted = [255, 0, 0, 0, 0, 0];
    for (split, id) in [("train", "0"), ("train", "1"), ("val", "0")] {
        let path = folder.join("tiny").join(split).join("labels").join(format!("{id}.png"));
        write_png(&path, &halves(0, 1), png::ColorType::Indexed, &permuted);
    }
    let parts =
        ["labels/0.png", "value 0", "[255, 0, 0] of `lesion`", "`skin`", "[0, 0, 0]", "labels_by: colour"];
    for command in [CHECK, RUN] {
        fails(folder, command, 3, &parts);
    }
    let output = run_in(folder, DATA_CHECK);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(3) && out.contains("palettes that contradict the manifest: 2 of 2"),
        "{out}"
    );
    let by_colour = MANIFEST.replace("classes:", "labels_by: colour\nclasses:");
    fs::write(folder.join("tiny.yaml"), by_colour).unwrap();
    told(folder, DATA_CHECK);
}

#[test]
fn an_attack_reads_labels_as_its_manifest_says_and_refuses_raw_ids() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let network =
        NetworkConfig::new(PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::default() }, 19);
    Network::new(&network, 1, &Device::Cpu).unwrap().save(&folder.join("model.safetensors")).unwrap();
    write_image(&folder.join("street.png"), 1);
    // Road and building, as ids and as training classes.
    write_png(&folder.join("street_gtFine_labelIds.png"), &halves(7, 11), png::ColorType::Grayscale, &[]);
    write_png(&folder.join("classes.png"), &halves(0, 2), png::ColorType::Grayscale, &[]);
    write_png(&folder.join("raw.png"), &halves(7, 33), png::ColorType::Grayscale, &[]);
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data-manifests/cityscapes.yaml");
    let attack = |label: &'static str, more: &[&'static str]| {
        let start =
            ["attack", "--checkpoint", "model.safetensors", "--method", "fgsm", "--image", "street.png"];
        [&start[..], &["--out", "out", "--json", "--label", label], more].concat()
    };
    let ids = "street_gtFine_labelIds.png";
    fails(folder, &attack(ids, &[]), 3, &[ids, "Cityscapes' ids", "--manifest"]);
    fails(folder, &attack("raw.png", &[]), 3, &["raw.png", "value 33", "19 classes", "--manifest"]);
    let (by_manifest, _) = told(folder, &attack(ids, &["--manifest", manifest]));
    let (by_class, _) = told(folder, &attack("classes.png", &[]));
    assert_eq!(by_manifest, by_class);
    let camvid = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data-manifests/camvid.yaml");
    fails(folder, &attack(ids, &["--manifest", camvid]), 3, &["19 classes", "camvid has 11"]);
}

#[test]
fn an_attack_compares_labels_with_the_classes_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder, 0, 1);
    told(folder, RUN);
    write_png(&folder.join("permuted.png"), &halves(0, 1), png::ColorType::Indexed, &[255, 0, 0, 0, 0, 0]);
    let attack = |more: &[&'static str]| {
        let start = ["attack", "--checkpoint", "run/checkpoints/last.safetensors", "--method", "fgsm"];
        [&start[..], &["--image", "tiny/val/images/0.png", "--out", "out", "--label"], more].concat()
    };
    told(folder, &attack(&["tiny/val/labels/0.png"]));
    fails(folder, &attack(&["permuted.png"]), 3, &["permuted.png", "of `lesion`", "`skin`"]);
    let renamed = MANIFEST.replace("name: skin", "name: eye");
    fs::write(folder.join("tiny.yaml"), renamed).unwrap();
    let with_manifest = attack(&["tiny/val/labels/0.png", "--manifest", "tiny.yaml"]);
    fails(folder, &with_manifest, 3, &["`skin`", "`eye`", "--ignore-classes"]);
    told(folder, &[&with_manifest[..], &["--ignore-classes"]].concat());
}

#[test]
fn images_that_are_trained_on_are_not_validated_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Both splits have a sample 0, with different images.
    tiny(folder, 0, 1);
    for command in [DATA_CHECK, CHECK] {
        told(folder, command);
    }
    fs::copy(folder.join("tiny/train/images/1.png"), folder.join("tiny/val/images/0.png")).unwrap();
    let leak = ["data tiny", "val holds images of train (1 of 1: 1 = 0)", "may_overlap: [train]"];
    for command in [CHECK, RUN] {
        fails(folder, command, 3, &leak);
    }
    assert!(!folder.join("run").exists());
    let output = run_in(folder, DATA_CHECK);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(3)
            && out.contains("train and val share 1 image (1 = 0), which the manifest does not"),
        "{out}"
    );

    // The pixels of a training image in another file. A check that decodes everything notices.
    let ramp = robustseg_datasets::read_image(&folder.join("tiny/train/images/1.png")).unwrap();
    let rgba: Vec<u8> = ramp.data.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect();
    write_png(&folder.join("tiny/val/images/0.png"), &rgba, png::ColorType::Rgba, &[]);
    fails(folder, CHECK, 3, &leak);

    let allowed = MANIFEST.replace("val: {count: 1}", "val: {count: 1, may_overlap: [train]}");
    fs::write(folder.join("tiny.yaml"), allowed).unwrap();
    told(folder, DATA_CHECK);
    told(folder, CHECK);
}

#[test]
fn one_split_for_training_and_validation_needs_permission() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder, 0, 1);
    let same = ["--set", "data.validation_split=train"];
    let leak = ["train is both the split to train on and the one to validate", "may_overlap: [train]"];
    for command in [CHECK, RUN] {
        fails(folder, &[command, &same].concat(), 3, &leak);
    }
    fails(folder, &[CHECK, &["--set", "evaluation.split=train"]].concat(), 3, &leak);
    let allowed = MANIFEST.replace("train: {count: 2}", "train: {count: 2, may_overlap: [train]}");
    fs::write(folder.join("tiny.yaml"), allowed).unwrap();
    let (_, error) = told(folder, &[RUN, &same].concat());
    assert!(
        error.contains("split train: its images (2 of 2) are trained on, as the manifest allows"),
        "{error}"
    );
    let report = fs::read_to_string(folder.join("run/report.html")).unwrap();
    assert!(report.contains("its images (2 of 2) are trained on"));
}

/// [`JPEG`] with an EXIF orientation.
fn turned(orientation: u8) -> Vec<u8> {
    let tiff =
        [b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[orientation, 0, 0, 0]].concat();
    let segment = [b"Exif\0\0".as_slice(), &tiff, &[0; 4]].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&JPEG[..2], &[0xff, 0xe1], &length, &segment, &JPEG[2..]].concat()
}

#[test]
fn images_that_exif_turns_are_counted_and_named_where_sizes_differ() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder, 0, 1);
    fs::write(folder.join("tiny/train/images/0.png"), turned(3)).unwrap();
    let warning = "EXIF turns 1 of 2 images";
    let (out, _) = told(folder, DATA_CHECK);
    assert!(out.contains(warning) && out.contains("stored pixels, which no program can know"), "{out}");
    for command in [CHECK, RUN] {
        let (_, error) = told(folder, command);
        assert!(error.contains(&format!("split train: {warning}")), "{error}");
    }
    fs::write(folder.join("tiny/train/images/0.png"), turned(6)).unwrap();
    let parts = ["is 40x48", "is 48x40", "stored as 48x40", "EXIF", "drawn on the stored pixels"];
    fails(folder, CHECK, 3, &parts);
    let output = run_in(folder, DATA_CHECK);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains("turned by their EXIF orientation, and their labels are not: 1 of 2 samples"),
        "{out}"
    );
    assert!(out.contains("exiftool"), "{out}");
    // The upright orientation is not a rotation.
    fs::write(folder.join("tiny/train/images/0.png"), turned(1)).unwrap();
    let (out, _) = told(folder, DATA_CHECK);
    assert!(!out.contains("EXIF"), "{out}");
}
