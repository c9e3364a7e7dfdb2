//! Commands never write over their inputs, and only over their own earlier output.

mod common;

use std::fs;
use std::path::Path;

use common::{case, checkpoint, files, refuses, succeeds};

/// A picture of 16 x 12 pixels with colours derived from `seed`.
fn picture(path: &Path, seed: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let data: Vec<u8> = (0..16 * 12 * 3).map(|at: u32| (at * 7 % 251) as u8 ^ seed).collect();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 16, 12);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
}

/// `predict` for the images into `out`.
fn predict<'a>(out: &'a str, images: &[&'a str]) -> Vec<&'a str> {
    [&["predict", "--checkpoint", "model.safetensors", "--out", out], images].concat()
}

#[test]
fn predict_writes_over_no_photograph_and_no_label() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    for (index, name) in
        ["pics/street.png", "train/images/a.png", "train/labels/a.png"].into_iter().enumerate()
    {
        picture(&folder.join(name), index as u8);
    }
    fs::write(folder.join("file"), "x").unwrap();
    refuses(folder, &predict("pics", &["pics/street.png"]), &["pics/street.png", "pics-predict"]);
    refuses(
        folder,
        &predict("train/labels", &["train/images/a.png"]),
        &["train/labels", "train/labels-predict"],
    );
    refuses(folder, &predict("train/../train/labels", &["train/images/a.png"]), &["--out"]);
    refuses(folder, &predict("new/../train/labels", &["train/images/a.png"]), &["`..`"]);
    refuses(folder, &predict(".", &["pics/street.png"]), &["is read"]);
    refuses(folder, &predict("", &["pics/street.png"]), &["--out"]);
    refuses(folder, &predict("file", &["pics/street.png"]), &["file", "is a file"]);
    refuses(folder, &predict("file/new", &["pics/street.png"]), &["file"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("train/labels", folder.join("link")).unwrap();
        refuses(folder, &predict("link", &["train/images/a.png"]), &["link"]);
    }
}

#[test]
fn images_that_would_share_a_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    for name in ["x.png", "x_overlay.png", "a/y.png", "b/y.png", "a/Z.png", "b/z.png"] {
        picture(&folder.join(name), 0);
    }
    fs::rename(folder.join("b/y.png"), folder.join("b/y.jpg")).unwrap();
    refuses(folder, &predict("out", &["x.png", "x_overlay.png"]), &["x.png", "x_overlay.png"]);
    refuses(folder, &predict("out", &["a/y.png", "b/y.jpg"]), &["a/y.png", "b/y.jpg", "y.png"]);
    refuses(folder, &predict("out", &["a/Z.png", "b/z.png"]), &["a/Z.png", "b/z.png"]);
    refuses(folder, &predict("out", &["x.png", "x.png"]), &["x.png"]);
}

#[test]
fn predict_replaces_and_adds_to_its_own_output() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    for (index, name) in ["x.png", "y.png"].into_iter().enumerate() {
        picture(&folder.join(name), index as u8);
    }
    for images in [&["x.png"][..], &["x.png"], &["y.png"], &["x.png", "y.png"]] {
        succeeds(folder, &predict("out", images));
    }
    assert!(folder.join("out/x_overlay.png").is_file() && folder.join("out/y.png").is_file());
    refuses(folder, &predict("out", &["out/x.png"]), &["out/x.png", "is read"]);
    // A user put a better label map there, or some other file.
    let before = fs::read(folder.join("out/y.png")).unwrap();
    picture(&folder.join("out/y.png"), 3);
    refuses(folder, &predict("out", &["x.png"]), &["out", "y.png", "changed"]);
    fs::write(folder.join("out/y.png"), before).unwrap();
    fs::write(folder.join("out/thesis.tex"), "mine").unwrap();
    refuses(folder, &predict("out", &["x.png"]), &["out", "thesis.tex", "out-predict"]);
    fs::remove_file(folder.join("out/thesis.tex")).unwrap();
    succeeds(folder, &predict("out", &["x.png"]));
    // A hidden file is ignored when a folder is inspected, but still not overwritten.
    picture(&folder.join(".x.png"), 1);
    picture(&folder.join("out/.x.png"), 2);
    refuses(folder, &predict("out", &[".x.png"]), &["out/.x.png"]);
}

#[test]
fn predict_uses_windows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    picture(&folder.join("x.png"), 0);
    for window in ["whole", "sliding:64:64", "sliding:8:4"] {
        succeeds(folder, &[&predict(window, &["x.png"])[..], &["--window", window]].concat());
    }
    let map = |window: &str| fs::read(folder.join(window).join("x.png")).unwrap();
    assert!(map("whole") == map("sliding:64:64"));
    assert_eq!(robustseg_datasets::image_size(&folder.join("sliding:8:4/x.png")).unwrap(), (16, 12));
    let centre = [&predict("out", &["x.png"])[..], &["--window", "center_crop:8"]].concat();
    refuses(folder, &centre, &["--window", "border", "sliding"]);
}

#[test]
fn predict_takes_folders_and_writes_probabilities_scales_and_legends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    picture(&folder.join("in/a.png"), 0);
    picture(&folder.join("in/deep/b.png"), 3);
    let with = |out, more: &[&'static str]| [&predict(out, &["in"])[..], more].concat();
    succeeds(folder, &with("plain", &["--probabilities", "npy"]));
    succeeds(folder, &with("flipped", &["--flip", "--scales", "0.5,1", "--probabilities", "safetensors"]));
    for file in ["plain/a.png", "plain/deep/b_overlay.svg", "plain/deep/b.npy", "flipped/a.safetensors"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    // The label map is the most probable class of each pixel.
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(fs::File::open(folder.join("flipped/a.png")).unwrap()))
            .read_info()
            .unwrap();
    let mut labels = vec![0; 16 * 12];
    reader.next_frame(&mut labels).unwrap();
    let file = fs::read(folder.join("flipped/a.safetensors")).unwrap();
    let read = safetensors::SafeTensors::deserialize(&file).unwrap();
    let tensor = read.tensor("probabilities").unwrap();
    let values: Vec<f32> =
        tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(tensor.shape()[1..], [12, 16]);
    for (pixel, label) in labels.iter().enumerate() {
        let of_pixel: Vec<f32> = values.iter().skip(pixel).step_by(16 * 12).copied().collect();
        let sum: f32 = of_pixel.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(
            of_pixel.iter().all(|other| *other <= of_pixel[usize::from(*label)]),
            "{pixel}: {of_pixel:?}"
        );
    }
    refuses(folder, &predict("in/out", &["in"]), &["in/out", "folder of images"]);
    refuses(folder, &with("x", &["--scales", "0"]), &["--scales"]);
    refuses(folder, &with("x", &["--flip", "--window", "sliding:8"]), &["--window"]);
    refuses(folder, &predict("x", &["in/c*.png"]), &["c*.png", "no image"]);
}

#[test]
fn attack_replaces_its_own_output_and_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    checkpoint(folder);
    case(folder);
    picture(&folder.join("x.png"), 0);
    succeeds(folder, &predict("labels", &["x.png"]));
    let attack = |out: &'static str, rest: &[&'static str]| {
        [&["attack", "--checkpoint", "model.safetensors", "--method", "fgsm", "--out", out], rest].concat()
    };
    let pair = ["--image", "x.png", "--label", "labels/x.png"];
    refuses(folder, &attack("labels", &pair), &["labels", "is read"]);
    refuses(folder, &attack(".", &["--input", "case.safetensors"]), &["is read"]);
    for _ in 0..2 {
        succeeds(folder, &attack("out", &pair));
    }
    assert!(folder.join("out/adversarial.png").is_file());
    refuses(folder, &predict("out", &["x.png"]), &["out", "`attack`"]);
    succeeds(folder, &attack("out", &["--input", "case.safetensors"]));
    assert!(!folder.join("out/adversarial.png").exists(), "it is of another image");
}

#[test]
fn bench_replaces_its_own_results_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bench = |json: &'static str| {
        let small =
            ["bench", "--layers", "1,1,1,1", "--width", "4", "--size", "9", "--steps", "1", "--warmup", "0"];
        [&small[..], &["--methods", "basic", "--json", json]].concat()
    };
    for _ in 0..2 {
        succeeds(folder, &bench("bench.json"));
    }
    fs::write(folder.join("spec.yaml"), "name: x").unwrap();
    fs::write(folder.join("other.json"), "{}").unwrap();
    refuses(folder, &bench("spec.yaml"), &["spec.yaml", "--json"]);
    refuses(folder, &bench("other.json"), &["other.json", "--json"]);
    refuses(folder, &bench("none/bench.json"), &["none"]);
    refuses(folder, &bench("/dev/null"), &["/dev/null", "regular"]);
    assert_eq!(files(folder).len(), 3);
}
