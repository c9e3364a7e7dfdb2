//! A crop decoded separately equals the crop of the whole sample, and broken files are detected.

use std::fs;
use std::path::Path;

use robustseg_datasets::{
    AugmentationConfig, AugmentationParameters, Crop, Dataset, IGNORE_LABEL, Result, apply, read_image,
};

use crate::common::{image, label, manifest, real_data, write_gray, write_image, write_palette};

const FILL: [f32; 3] = [0.1, 0.2, 0.3];

/// The dataset with the single sample `image` and `label` in `root`.
fn pair(root: &Path, image: &str, label: &str, classes: usize) -> Dataset {
    fs::write(root.join("list.txt"), format!("{image} {label}\n")).unwrap();
    let classes: Vec<String> = (0..classes).map(|n| format!("{{name: c{n}, colour: [0, 0, 0]}}")).collect();
    let manifest = manifest(&format!(
        "name: pair\nfolder: pair\nlayout: pairs\nclasses: [{}]\n\
         splits:\n  train: {{file: list.txt, count: 1}}\ncitation: c\nlicence: l\nobtain: o\n",
        classes.join(", ")
    ));
    Dataset::open(&manifest, root, "train").unwrap()
}

fn whole(dataset: &Dataset, parameters: &AugmentationParameters) -> Result<Crop> {
    Ok(apply(&dataset.load(0)?, parameters, FILL))
}

/// Draws of all kinds, whose crops need all, few or none of the rows.
fn draws(count: u64) -> impl Iterator<Item = AugmentationParameters> {
    (0..count).map(|index| {
        // Every second one has a blur that needs pixels around the crop.
        let base = if index % 2 == 0 { AugmentationConfig::default() } else { AugmentationConfig::semseg() };
        AugmentationConfig { crop: 24.into(), scale: [0.3, 4.0], rotation: 60.0, ..base }.draw(1, 0, index)
    })
}

fn assert_alike(dataset: &Dataset, count: u64, what: &str) {
    for parameters in draws(count) {
        match (dataset.load_crop(0, &parameters, FILL), whole(dataset, &parameters)) {
            (Ok(found), Ok(expected)) => assert!(found == expected, "{what}: {parameters:?}"),
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected.to_string(), "{what}"),
            // A label value in a row that the crop does not need.
            (Ok(_), Err(expected)) if expected.to_string().contains("is above 255") => {}
            (found, expected) => panic!("{what}: {:?} and {:?}", found.err(), expected.err()),
        }
    }
}

#[test]
fn it_equals_the_crop_of_the_whole_sample() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (width, height) in [(90, 70), (31, 120), (24, 24), (1, 50), (50, 1), (1, 1)] {
        write_image(&root.join("image.png"), &image(width, height));
        let values = label(width, height, |x, y| [0, 1, 7, IGNORE_LABEL][(x / 3 + y / 2) % 4]);
        write_gray(&root.join("gray.png"), &values);
        write_palette(&root.join("palette.png"), &values);
        for name in ["gray.png", "palette.png"] {
            assert_alike(&pair(root, "image.png", name, 8), 40, &format!("{width}x{height} {name}"));
        }
    }
}

#[test]
fn every_odd_file_gives_what_reading_all_of_it_gives() {
    let Some(odd) = real_data("odd_files") else { return };
    let folder = tempfile::tempdir().unwrap();
    let list = fs::read_to_string(odd.join("files.tsv")).unwrap();
    for file in list.lines().skip(1).filter_map(|line| line.split('\t').next()) {
        fs::copy(odd.join(file), folder.path().join("odd")).unwrap();
        let size = read_image(&odd.join(file)).map_or((4, 4), |image| (image.width, image.height));
        if size.0 * size.1 > 1 << 18 {
            continue;
        }
        write_gray(&folder.path().join("label.png"), &label(size.0, size.1, |x, _| (x % 2) as u8));
        write_image(&folder.path().join("image.png"), &image(size.0, size.1));
        assert_alike(&pair(folder.path(), "odd", "label.png", 255), 4, file);
        assert_alike(&pair(folder.path(), "image.png", "odd", 255), 4, file);
    }
}

#[test]
fn a_file_that_is_broken_below_the_crop_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_image(&root.join("image.png"), &image(64, 400));
    write_gray(&root.join("label.png"), &label(64, 400, |_, y| (y % 2) as u8));
    let dataset = pair(root, "image.png", "label.png", 8);
    // Only the first rows.
    let top = AugmentationParameters { place: [0.0; 2], ..AugmentationParameters::identity(8) };
    assert_eq!(dataset.load_crop(0, &top, FILL).unwrap(), whole(&dataset, &top).unwrap());
    for name in ["image.png", "label.png"] {
        let path = root.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() - 30] ^= 1;
        for broken in [&bytes[..bytes.len() - 40], &bytes[..bytes.len() - 5], &flipped] {
            fs::write(&path, broken).unwrap();
            let error = dataset.load_crop(0, &top, FILL).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        fs::write(&path, bytes).unwrap();
    }
    // A value that is not a class is an error where the crop needs it.
    write_gray(&root.join("label.png"), &label(64, 400, |x, y| if (x, y) == (3, 395) { 9 } else { 0 }));
    assert!(dataset.load(0).is_err() && dataset.load_crop(0, &top, FILL).is_ok());
    let bottom = AugmentationParameters { place: [0.999, 0.0], ..top };
    let error = dataset.load_crop(0, &bottom, FILL).unwrap_err().to_string();
    assert!(error.contains("value 9 at x 3, y 395"), "{error}");
}
