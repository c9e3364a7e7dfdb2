//! A small dataset on disk whose samples all differ: images, label maps, lists, its manifest and a
//! spec.

use std::fs;
use std::path::Path;

const WIDTH: usize = 40;
const HEIGHT: usize = 32;

const MANIFEST: &str = "name: scenes
folder: data
layout:
  folders:
    images: {folder: images, suffix: .png}
    labels: {folder: labels, suffix: .png}
classes:
  - {name: ground, colour: [20, 20, 20]}
  - {name: stripes, colour: [200, 80, 60], value: 1}
  - {name: steps, colour: [60, 110, 200]}
splits:
  train: {file: train.txt, count: 6}
  val: {file: val.txt, count: 3}
citation: none
licence: generated
obtain: nothing to obtain
";

const SPEC: &str = "name: scenes
data: {manifest: scenes.yaml, root: data}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: basic
  epochs: 1
  batch_size: 2
  augmentation: {crop: 24}
evaluation:
  curves: [{fgsm: {epsilons: [0, 0.02, 0.04]}}]
  examples: 1
";

/// Writes `scenes.yaml`, `spec.yaml` and the folder `data` into `folder`. The data has nine samples
/// `s0` to `s8`: six for training and three for validation. A training has three steps.
pub fn write(folder: &Path) {
    fs::write(folder.join("scenes.yaml"), MANIFEST).unwrap();
    fs::write(folder.join("spec.yaml"), SPEC).unwrap();
    let data = folder.join("data");
    for part in ["images", "labels"] {
        fs::create_dir_all(data.join(part)).unwrap();
    }
    for index in 0..9 {
        fs::write(data.join(format!("images/s{index}.png")), image(index)).unwrap();
        fs::write(data.join(format!("labels/s{index}.png")), label(index, |class| class)).unwrap();
    }
    let list = |indices: std::ops::Range<usize>| {
        indices.map(|index| format!("s{index}")).collect::<Vec<_>>().join(
            "
",
        ) + "
"
    };
    fs::write(data.join("train.txt"), list(0..6)).unwrap();
    fs::write(data.join("val.txt"), list(6..9)).unwrap();
}

/// The image of sample `index` as PNG. Every index gives a different image.
pub fn image(index: usize) -> Vec<u8> {
    let colour = |at: usize| {
        let class = usize::from(class(index, at));
        [[40, 60, 50], [150, 90, 70], [90, 110, 160]][class]
            .map(|value: u8| value + (at * (index + 3) % 29) as u8)
    };
    png(&(0..WIDTH * HEIGHT).flat_map(colour).collect::<Vec<_>>(), png::ColorType::Rgb)
}

/// The label map of sample `index` as PNG, with each class changed by `change`. All label maps of a
/// sample have the same length in bytes.
pub fn label(index: usize, change: impl Fn(u8) -> u8) -> Vec<u8> {
    let labels: Vec<u8> = (0..WIDTH * HEIGHT).map(|at| change(class(index, at))).collect();
    png(&labels, png::ColorType::Grayscale)
}

/// The class of pixel `at` of sample `index`.
fn class(index: usize, at: usize) -> u8 {
    let (x, y) = (at % WIDTH, at / WIDTH);
    ((x + 5 * index) / 14 + y / 17) as u8 % 3
}

fn png(pixels: &[u8], colour: png::ColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::NoCompression);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    bytes
}
