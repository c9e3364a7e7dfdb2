//! The meaning of values and colours in label files.

use std::fs;
use std::path::Path;

use robustseg_datasets::{AugmentationParameters, Dataset, Error, Image, LabelMap, Manifest, Result, check};
use tempfile::TempDir;

use crate::common::{
    image, label, manifest, write_colours, write_gray, write_image, write_palette, write_rgba,
};

const WIDTH: usize = 8;
const HEIGHT: usize = 6;

/// A single sample whose label file the test writes.
struct Tree {
    folder: TempDir,
    manifest: Manifest,
}

impl Tree {
    /// Makes a manifest with `classes` as its part about classes.
    fn new(classes: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_image(&folder.path().join("a.png"), &image(WIDTH, HEIGHT));
        fs::write(folder.path().join("list.txt"), "a.png a_label.png\n").unwrap();
        let manifest = manifest(&format!(
            "name: tiny\nfolder: tiny\nlayout: pairs\n{classes}\n\
             splits:\n  train: {{file: list.txt, count: 1}}\ncitation: c\nlicence: l\nobtain: o\n"
        ));
        Self { folder, manifest }
    }

    fn label(&self) -> std::path::PathBuf {
        self.folder.path().join("a_label.png")
    }

    /// The sample's labels. A crop of the whole sample and the manifest alone must give the same.
    fn labels(&self) -> Result<Vec<u8>> {
        let dataset = Dataset::open(&self.manifest, self.folder.path(), "train")?;
        let whole = dataset.load(0).map(|sample| sample.label);
        let all = AugmentationParameters::identity(WIDTH);
        let crop = dataset.load_crop(0, &all, [0.0; 3]);
        let alone = self.manifest.read_label(&self.label());
        match (&whole, &crop, &alone) {
            (Ok(whole), Ok(crop), Ok(alone)) => {
                // The crop is square, with the image in the middle.
                let margin = (WIDTH - HEIGHT) / 2 * WIDTH;
                assert_eq!(crop.label[margin..][..WIDTH * HEIGHT], whole.data);
                assert_eq!(alone, whole);
            }
            (Err(whole), Err(crop), Err(alone)) => {
                assert_eq!([crop.to_string(), alone.to_string()], [whole.to_string(), whole.to_string()]);
            }
            _ => panic!("{whole:?}, {crop:?} and {alone:?}"),
        }
        whole.map(|label| label.data)
    }

    fn error(&self) -> String {
        self.labels().unwrap_err().to_string()
    }

    /// The advice of `data check` about the only fault.
    fn advice(&self) -> String {
        let report = check(&self.manifest, self.folder.path(), |_, _| ()).unwrap();
        let [kind] = &report.splits[0].fault_kinds[..] else { panic!("{report:?}") };
        kind.advice.clone()
    }
}

/// Columns with the values in turn.
fn columns(values: &[u8]) -> LabelMap {
    label(WIDTH, HEIGHT, |x, _| values[x % values.len()])
}

/// The first labels, one for each of `count` columns.
fn first(labels: &[u8], count: usize) -> Vec<u8> {
    labels[..count].to_vec()
}

#[test]
fn masks_of_0_and_255_are_two_classes_where_the_manifest_says_so() {
    let tree = Tree::new(
        "classes: [{name: skin, colour: [0, 0, 0]}, {name: lesion, colour: [255, 255, 255], value: 255}]",
    );
    write_gray(&tree.label(), &columns(&[0, 255]));
    assert_eq!(first(&tree.labels().unwrap(), 4), [0, 1, 0, 1]);
    write_gray(&tree.label(), &columns(&[0, 254]));
    assert!(tree.error().contains("value 254 at x 1, y 0"), "{}", tree.error());
}

#[test]
fn another_value_than_255_means_not_labelled_where_the_manifest_says_so() {
    let tree = Tree::new(
        "classes: [{name: a, colour: [0, 0, 0], value: 255}, {name: b, colour: [1, 1, 1], value: 1}]\nignored: [0]",
    );
    write_gray(&tree.label(), &columns(&[0, 1, 255]));
    assert_eq!(first(&tree.labels().unwrap(), 3), [255, 1, 0]);
}

#[test]
fn several_values_may_be_one_class() {
    for key in ["value", "values"] {
        let tree = Tree::new(&format!(
            "classes: [{{name: a, colour: [0, 0, 0]}}, {{name: b, colour: [1, 1, 1], {key}: [4, 7, 255]}}]"
        ));
        write_gray(&tree.label(), &columns(&[0, 4, 7, 255]));
        assert_eq!(first(&tree.labels().unwrap(), 4), [0, 1, 1, 1]);
    }
}

const COLOURS: &str = "labels_by: colour
classes:
  - {name: road, colour: [128, 64, 128]}
  - {name: car, colour: [0, 0, 142], label_colours: [[0, 0, 142], [0, 0, 70]]}
ignored_colours: [[0, 0, 0]]";

/// Columns with the colours in turn.
fn painted(colours: &[[u8; 3]]) -> Image {
    let data = (0..WIDTH * HEIGHT).flat_map(|at| colours[at % WIDTH % colours.len()]).collect();
    Image { width: WIDTH, height: HEIGHT, data }
}

#[test]
fn masks_of_colours_are_read_by_the_manifests_colours() {
    let tree = Tree::new(COLOURS);
    let (road, car, lorry, void) = ([128, 64, 128], [0, 0, 142], [0, 0, 70], [0, 0, 0]);
    write_image(&tree.label(), &painted(&[road, car, lorry, void]));
    assert_eq!(first(&tree.labels().unwrap(), 4), [0, 1, 1, 255]);
    // Palette indices have no meaning in this case.
    write_colours(&tree.label(), &columns(&[3, 0, 1, 2]), &[car, lorry, void, road]);
    assert_eq!(first(&tree.labels().unwrap(), 4), [0, 1, 1, 255]);
    write_image(&tree.label(), &painted(&[road, car, [1, 2, 3]]));
    assert!(tree.error().contains("the colour [1, 2, 3] at x 2, y 0"), "{}", tree.error());
    assert!(tree.advice().contains("ignored_colours"), "{}", tree.advice());
    let pixels = |alpha| vec![[128, 64, 128, alpha]; WIDTH * HEIGHT];
    write_rgba(&tree.label(), (WIDTH, HEIGHT), &pixels(255));
    assert_eq!(tree.labels().unwrap(), [0; WIDTH * HEIGHT]);
    write_rgba(&tree.label(), (WIDTH, HEIGHT), &pixels(254));
    assert!(tree.error().contains("transparent pixels"), "{}", tree.error());
}

#[test]
fn masks_of_colours_where_values_are_expected_say_how_to_read_them() {
    let tree = Tree::new("classes: [{name: a, colour: [0, 0, 0]}, {name: b, colour: [1, 1, 1]}]");
    write_image(&tree.label(), &painted(&[[0, 0, 0], [1, 1, 1]]));
    assert!(tree.error().contains("Rgb is no label map"), "{}", tree.error());
    assert!(tree.advice().contains("labels_by: colour"), "{}", tree.advice());
    fs::write(tree.label(), b"").unwrap();
    assert!(tree.advice().contains("obtain these files again"), "{}", tree.advice());
}

const ANIMALS: &str = "classes:
  - {name: background, colour: [0, 0, 0]}
  - {name: cat, colour: [128, 0, 0]}
  - {name: dog, colour: [0, 128, 0]}";
const BACKGROUND: [u8; 3] = [0, 0, 0];
const CAT: [u8; 3] = [128, 0, 0];
const DOG: [u8; 3] = [0, 128, 0];
const BORDER: [u8; 3] = [224, 224, 192];

#[test]
fn a_palette_of_the_classes_colours_in_another_order_is_an_error() {
    let tree = Tree::new(ANIMALS);
    let refused = |values: &[u8], palette: &[[u8; 3]], parts: &[&str]| {
        write_colours(&tree.label(), &columns(values), palette);
        let error = tree.labels().unwrap_err();
        assert!(matches!(error, Error::Palette { .. }), "{error}");
        for part in ["a_label.png", "labels_by: colour"].iter().chain(parts) {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(tree.advice().contains("labels_by: colour"), "{}", tree.advice());
    };
    refused(
        &[0, 1, 2],
        &[BACKGROUND, DOG, CAT],
        &["value 1", "[0, 128, 0] of `dog`", "`cat`", "[128, 0, 0]"],
    );
    // Tools make such palettes: only the colours that occur, by frequency.
    refused(&[0, 1], &[DOG, BACKGROUND], &["value 0", "`dog`", "`background`"]);
    refused(&[0, 1], &[BACKGROUND, DOG], &["value 1", "`dog`", "`cat`"]);
    refused(&[1], &[BACKGROUND, DOG], &["value 1", "`dog`", "`cat`"]);
    refused(&[0, 1, 2], &[BACKGROUND, BORDER, CAT, BACKGROUND], &["value 2", "`cat`", "`dog`"]);
    refused(&[0, 5], &[BACKGROUND, CAT, DOG, CAT, CAT, DOG], &["value 5", "but is no class;"]);
}

#[test]
fn palettes_that_say_nothing_of_the_classes_are_not_looked_at() {
    let tree = Tree::new(ANIMALS);
    let read = |values: &[u8], palette: &[[u8; 3]]| {
        write_colours(&tree.label(), &columns(values), palette);
        assert_eq!(first(&tree.labels().unwrap(), values.len()), values, "{palette:?}");
    };
    read(&[0, 1, 2], &[BACKGROUND, CAT, DOG]);
    // Values that do not occur do not count.
    read(&[0, 1], &[BACKGROUND, CAT, CAT]);
    // Filled up with black, including 255.
    read(&[0, 1, 2, 255], &[vec![BACKGROUND, CAT], vec![BACKGROUND; 254]].concat());
    // A palette of another dataset, with one common colour.
    read(&[0, 1, 2], &[[1, 1, 1], [2, 2, 2], CAT]);
    write_palette(&tree.label(), &columns(&[0, 1, 2, 255]));
    assert_eq!(first(&tree.labels().unwrap(), 4), [0, 1, 2, 255]);
}

#[test]
fn a_manifest_of_one_class_is_refused() {
    let text = "name: a\nfolder: a\nlayout: pairs\nclasses: [{name: x, colour: [0, 0, 0]}]\n\
                splits: {t: {file: t.txt, count: 1}}\ncitation: c\nlicence: l\nobtain: o\n";
    let error = Manifest::parse(text, Path::new("m.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("manifest m.yaml: classes: expected at least 2, found 1"), "{error}");
}

#[test]
fn a_manifest_comes_back_as_it_was_written() {
    for classes in [
        COLOURS,
        ANIMALS,
        "classes: [{name: a, colour: [0, 0, 0], value: [3, 4]}, {name: b, colour: [1, 1, 1], value: 9}]",
    ] {
        let before = Tree::new(classes).manifest;
        let text = serde_yaml::to_string(&before).unwrap();
        assert_eq!(Manifest::parse(&text, Path::new("test.yaml")).unwrap(), before, "{text}");
    }
}
