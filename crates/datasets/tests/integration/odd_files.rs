//! Odd and broken files give the right pixels, or an error that names the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use robustseg_datasets::{Result, read_image, read_label};
use robustseg_files::sha256;

use crate::common::real_data;

/// The expected result for each file as an image and as a label map. Either `error: ` with a part
/// of the message, or the size, followed by the first digits of the pixels' SHA-256 (lossless) or
/// by moments of the colours (JPEG). The pixels are those of Pillow; see `odd_files.py`.
const EXPECTED: &str = include_str!("odd_files.tsv");

/// Tolerance for means of 8-bit values. Decoders differ in how they interpolate the colours of a
/// JPEG.
const JPEG_TOLERANCE: f64 = 0.75;

struct Pixels {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Pixels {
    /// The first 16 hexadecimal digits of the SHA-256 of the values.
    fn digest(&self) -> String {
        sha256(&self.data)[..16].to_owned()
    }

    /// Means of the values, of values times column, and of values times row, for red, green and
    /// blue. Columns and rows run from 0 to 1.
    fn moments(&self) -> [f64; 9] {
        let mut moments = [0.0; 9];
        for (pixel, colour) in self.data.chunks_exact(3).enumerate() {
            let column = ((pixel % self.width) as f64 + 0.5) / self.width as f64;
            let row = ((pixel / self.width) as f64 + 0.5) / self.height as f64;
            for (place, weight) in [1.0, column, row].into_iter().enumerate() {
                for (channel, value) in colour.iter().enumerate() {
                    moments[3 * place + channel] += weight * f64::from(*value);
                }
            }
        }
        moments.map(|sum| sum / (self.width * self.height) as f64)
    }
}

/// How `found` differs from `expected`.
fn difference(expected: &str, path: &Path, found: &Result<Pixels>) -> Option<String> {
    let found = match (expected.strip_prefix("error: "), found) {
        (Some(part), Err(error)) => {
            let text = error.to_string();
            let named = text.contains(path.to_str()?) && text.contains(part);
            return (!named).then_some(text);
        }
        (Some(_), Ok(_)) => return Some("no error".into()),
        (None, Err(error)) => return Some(error.to_string()),
        (None, Ok(found)) => found,
    };
    let (size, content) = expected.split_once(' ').unwrap_or((expected, ""));
    if size != format!("{}x{}", found.width, found.height) {
        return Some(format!("{}x{}", found.width, found.height));
    }
    let numbers: Vec<&str> = content.split_whitespace().collect();
    if let [digest] = numbers[..] {
        return (digest != found.digest()).then(|| found.digest());
    }
    let near = |(found, number): (f64, &&str)| {
        number.parse().is_ok_and(|number: f64| (number - found).abs() <= JPEG_TOLERANCE)
    };
    let moments = found.moments();
    let right = numbers.len() == 9 && moments.into_iter().zip(&numbers).all(near);
    (!right).then(|| format!("{moments:.2?}"))
}

fn image(path: &Path) -> Result<Pixels> {
    read_image(path).map(|image| Pixels { width: image.width, height: image.height, data: image.data })
}

fn label(path: &Path) -> Result<Pixels> {
    read_label(path).map(|label| Pixels { width: label.width, height: label.height, data: label.data })
}

#[test]
fn every_odd_file_gives_the_right_pixels_or_an_error_that_names_it() {
    let Some(folder) = real_data("odd_files") else { return };
    let expected: BTreeMap<&str, (&str, &str)> = EXPECTED
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [file, image, label] => (file, (image, label)),
            _ => panic!("{line}"),
        })
        .collect();
    let list = fs::read_to_string(folder.join("files.tsv")).unwrap();
    let files: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(files.len(), expected.len());
    let mut wrong = Vec::new();
    for file in files {
        let path = folder.join(file);
        let (as_image, as_label) = expected[file];
        for (what, expected, found) in [("image", as_image, image(&path)), ("label", as_label, label(&path))]
        {
            let difference = difference(expected, &path, &found);
            wrong.extend(
                difference.map(|found| format!("{file} as {what}: expected {expected}, found {found}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The bytes of the odd file `name`, and a path for modified copies.
fn original(name: &str) -> Option<(Vec<u8>, tempfile::TempDir, PathBuf)> {
    let bytes = fs::read(real_data("odd_files")?.join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed");
    Some((bytes, folder, path))
}

#[test]
fn a_jpeg_that_lost_the_end_of_its_data_but_not_its_end_marker_is_an_error() {
    for name in ["generated/baseline.jpg", "generated/progressive.jpg", "jpeg/tower_grayscale.jpg"] {
        let Some((bytes, _folder, path)) = original(name) else { return };
        for lost in [8, 100, bytes.len() / 2, bytes.len() * 4 / 5] {
            let kept = &bytes[..bytes.len() - lost];
            fs::write(&path, [kept, &[0xff, 0xd9]].concat()).unwrap();
            assert!(read_image(&path).is_err(), "{name} without {lost} bytes");
        }
    }
}

#[test]
fn the_beginning_of_a_picture_is_refused() {
    for name in ["jpeg/restarts.jpg", "jpeg/jpg-size-31x31.jpg", "png/basi3p08.png", "png/basn6a16.png"] {
        let Some((bytes, _folder, path)) = original(name) else { return };
        for end in (0..bytes.len()).rev().step_by(11) {
            fs::write(&path, &bytes[..end]).unwrap();
            assert!(read_image(&path).is_err(), "{name}: {end} of {} bytes", bytes.len());
            assert!(read_label(&path).is_err(), "{name}: {end} of {} bytes", bytes.len());
        }
    }
}
