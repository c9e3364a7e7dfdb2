//! Small PNG files, and the location of the real data.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Encoder};
use robustseg_datasets::{DATA_FOLDER, Image, LabelMap, Manifest};

/// Parses the manifest in `text`.
pub fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, Path::new("test.yaml")).unwrap()
}

/// This project's manifest `name`.
pub fn project_manifest(name: &str) -> Manifest {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data-manifests");
    Manifest::load(&folder.join(name).with_extension("yaml")).unwrap()
}

/// The folder `name` of the real data. `None`, with a message, if it is missing.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os(DATA_FOLDER).map_or_else(beside, PathBuf::from).join(name);
    if !folder.is_dir() {
        println!("skipped: no folder {name} in ${DATA_FOLDER}");
        return None;
    }
    Some(folder)
}

/// An image in which each pixel differs from its neighbours.
pub fn image(width: usize, height: usize) -> Image {
    let pixel = |at: usize| [(at % width * 7) as u8, (at / width * 11) as u8, at as u8];
    Image { width, height, data: (0..width * height).flat_map(pixel).collect() }
}

/// A label map whose value at column `x` and row `y` is `value(x, y)`.
pub fn label(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> LabelMap {
    let data = (0..width * height).map(|at| value(at % width, at / width)).collect();
    LabelMap { width, height, data }
}

/// Writes `image` as PNG.
pub fn write_image(path: &Path, image: &Image) {
    write(path, (image.width, image.height), &image.data, |encoder| encoder.set_color(ColorType::Rgb));
}

/// Writes `label` as gray PNG.
pub fn write_gray(path: &Path, label: &LabelMap) {
    write(path, (label.width, label.height), &label.data, |_| ());
}

/// Writes `label` as PNG with a palette of unrelated colours.
pub fn write_palette(path: &Path, label: &LabelMap) {
    let colours: Vec<[u8; 3]> = (0..256_usize).map(|n| [255 - n as u8, (n * 64) as u8, 200]).collect();
    write_colours(path, label, &colours);
}

/// Writes `label` as PNG with this palette.
pub fn write_colours(path: &Path, label: &LabelMap, palette: &[[u8; 3]]) {
    write(path, (label.width, label.height), &label.data, |encoder| {
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(palette.concat());
    });
}

/// Writes pixels with four channels as PNG.
pub fn write_rgba(path: &Path, (width, height): (usize, usize), pixels: &[[u8; 4]]) {
    write(path, (width, height), &pixels.concat(), |encoder| encoder.set_color(ColorType::Rgba));
}

type File = BufWriter<std::fs::File>;

fn write(path: &Path, size: (usize, usize), data: &[u8], kind: impl FnOnce(&mut Encoder<File>)) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = BufWriter::new(std::fs::File::create(path).unwrap());
    let mut encoder = Encoder::new(file, size.0 as u32, size.1 as u32);
    encoder.set_depth(BitDepth::Eight);
    kind(&mut encoder);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
}
