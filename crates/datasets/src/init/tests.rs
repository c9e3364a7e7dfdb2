//! Folders as people have them.

use std::fs;

use png::{BitDepth, ColorType, Encoder};

use super::*;
use crate::label_rules::LabelsBy;

const SIDE: usize = 12;

fn png(colour: ColorType, data: &[u8], palette: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, SIDE as u32, SIDE as u32);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    if let Some(palette) = palette {
        encoder.set_palette(palette.to_vec());
    }
    encoder.write_header().and_then(|mut writer| writer.write_image_data(data)).unwrap();
    bytes
}

/// A picture of many colours.
fn photo(number: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..3 * SIDE * SIDE).map(|at| (at * 37 + at / 5 * number) as u8).collect();
    png(ColorType::Rgb, &data, None)
}

/// A label map with these values.
fn map(values: &[u8]) -> Vec<u8> {
    let data: Vec<u8> = (0..SIDE * SIDE).map(|at| values[at % values.len()]).collect();
    png(ColorType::Grayscale, &data, None)
}

fn colours(colours: &[[u8; 3]]) -> Vec<u8> {
    let data: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| colours[at % colours.len()]).collect();
    png(ColorType::Rgb, &data, None)
}

/// What is proposed for a folder with these files.
fn proposal(files: &[(String, Vec<u8>)]) -> Result<Proposal> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let proposal = propose(folder.path(), "things", Path::new("things.yaml"), |_, _| {})?;
    let read = Manifest::parse(&proposal.to_yaml(), Path::new("things.yaml")).unwrap();
    assert_eq!(read, proposal.manifest, "{}", proposal.to_yaml());
    for split in read.split_names() {
        let dataset = Dataset::open(&read, folder.path(), split)?;
        (0..dataset.len()).try_for_each(|index| dataset.load(index).map(drop))?;
    }
    Ok(proposal)
}

fn of(files: Vec<(&str, Vec<u8>)>) -> Result<Proposal> {
    proposal(&files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect::<Vec<_>>())
}

/// `count` images and label maps, named by `image` and `label`, in which `#` stands for a number.
fn pairs(count: usize, image: &str, label: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let named = |name: &str, number: usize| name.replace('#', &number.to_string());
    (0..count)
        .flat_map(|number| [(named(image, number), photo(number)), (named(label, number), bytes.to_vec())])
        .collect()
}

fn counts(proposal: &Proposal) -> Vec<(&str, Option<usize>)> {
    proposal.manifest.splits.iter().map(|(name, split)| (name.as_str(), split.count)).collect()
}

fn values(proposal: &Proposal) -> Vec<(&str, Vec<u8>)> {
    let classes = proposal.manifest.classes.iter();
    classes.map(|class| (class.name.as_str(), class.values.clone())).collect()
}

#[test]
fn images_and_masks_without_splits_are_divided() {
    let found = proposal(&pairs(10, "img/a#.png", "masks/a#_mask.png", &map(&[0, 255]))).unwrap();
    assert_eq!(counts(&found), [("train", Some(8)), ("val", Some(2))]);
    assert_eq!(values(&found), [("background", vec![0]), ("object", vec![255])]);
    let Layout::Folders(folders) = &found.manifest.layout else { panic!("{found:?}") };
    assert_eq!((folders.images.folder.as_str(), folders.images.suffix.as_str()), ("img", ".png"));
    assert_eq!((folders.labels.folder.as_str(), folders.labels.suffix.as_str()), ("masks", "_mask.png"));
    assert!(found.guesses.iter().any(|guess| guess.contains("fixed draw of 20 %")), "{found:?}");
    assert_eq!(found.smallest, (SIDE, SIDE));
}

#[test]
fn masks_may_lie_next_to_images_of_which_some_have_none() {
    let mut files = pairs(6, "a#.png", "a#-label.png", &map(&[3, 7, 255]));
    files.push(("b.png".into(), photo(99)));
    let found = proposal(&files).unwrap();
    assert_eq!(values(&found), [("background", vec![3]), ("object", vec![7])]);
    assert_eq!(counts(&found), [("train", Some(4)), ("val", Some(2))]);
    assert!(found.guesses.iter().any(|guess| guess.contains("1 image without")), "{found:?}");
    assert!(found.guesses.contains(&"255 means not labelled".into()));
}

#[test]
fn folders_name_splits_and_texts_name_classes() {
    let labels = map(&[0, 1, 2, 4]);
    let mut files = pairs(3, "Training/images/#.png", "Training/labels/#.png", &labels);
    files.extend(pairs(2, "validation/images/#.png", "validation/labels/#.png", &labels));
    files.push(("classes.txt".into(), b"sky\nroad\ncar\nbus\nvoid\n".to_vec()));
    files.push(("colors.txt".into(), b"1 2 3\n4 5 6\n7 8 9\n10 11 12\n0 0 0\n".to_vec()));
    let found = proposal(&files).unwrap();
    assert_eq!(counts(&found), [("train", Some(3)), ("val", Some(2))]);
    assert_eq!(found.manifest.splits["train"].from.as_deref(), Some("Training"));
    let names: Vec<_> =
        found.manifest.classes.iter().map(|class| (class.name.as_str(), class.colour)).collect();
    assert_eq!(names, [("sky", [1, 2, 3]), ("road", [4, 5, 6]), ("car", [7, 8, 9]), ("bus", [10, 11, 12])]);
    assert_eq!(found.manifest.ignored, [4]);
}

#[test]
fn lists_of_ids_or_of_pairs_are_the_splits() {
    let labels = map(&[0, 1, 2]);
    let mut files = pairs(5, "pictures/#.png", "annotations/#.png", &labels);
    files.push(("sets/train.txt".into(), b"0\n3\n4\n".to_vec()));
    files.push(("sets/val.txt".into(), b"1\n".to_vec()));
    files.push(("sets/all.txt".into(), b"0\n1\n17\n".to_vec()));
    let found = proposal(&files).unwrap();
    assert_eq!(counts(&found), [("train", Some(3)), ("val", Some(1))]);
    assert!(found.guesses.iter().any(|guess| guess.contains("sets/all.txt (1 of 3")), "{found:?}");
    files.truncate(10);
    files.push((
        "train.txt".into(),
        b"pictures/0.png annotations/0.png\npictures/2.png annotations/2.png\n".to_vec(),
    ));
    files.push(("test.txt".into(), b"pictures/4.png\tannotations/4.png\n".to_vec()));
    let found = proposal(&files).unwrap();
    assert_eq!(found.manifest.layout.name(), "pairs");
    assert_eq!(counts(&found), [("test", Some(1)), ("train", Some(1)), ("val", Some(1))]);
}

#[test]
fn colours_are_classes_and_a_table_names_them() {
    let (red, green, black) = ([200, 0, 0], [0, 200, 0], [0, 0, 0]);
    let mut files = pairs(5, "train/#.png", "train_labels/#_L.png", &colours(&[red, green, black]));
    files.push(("class_dict.csv".into(), b"name,r,g,b\nRoad,200,0,0\nTree,0,200,0\nVoid,0,0,0\n".to_vec()));
    let found = proposal(&files).unwrap();
    assert_eq!(found.manifest.labels_by, LabelsBy::Colour);
    assert_eq!(values(&found), [("Road", vec![]), ("Tree", vec![])]);
    assert_eq!(found.manifest.ignored_colours, [black]);
    let last = files.len() - 1;
    let found = proposal(&files[..last]).unwrap();
    assert_eq!(values(&found)[1].0, "colour_0_200_0");
}

#[test]
fn values_with_gaps_keep_them_and_take_the_colours_of_a_palette() {
    let palette: Vec<u8> = (0..30).flat_map(|index| [index, 100, 200]).collect();
    let data: Vec<u8> = (0..SIDE * SIDE).map(|at| [0, 7, 21][at % 3]).collect();
    let found =
        proposal(&pairs(4, "x/#.png", "y/#.png", &png(ColorType::Indexed, &data, Some(&palette)))).unwrap();
    assert_eq!(values(&found), [("class_0", vec![0]), ("class_7", vec![7]), ("class_21", vec![21])]);
    assert_eq!(found.manifest.classes[1].colour, [7, 100, 200]);
}

#[test]
fn a_folder_that_is_unclear_is_refused_with_what_it_holds() {
    let message = |files| of(files).unwrap_err().to_string();
    assert!(message(vec![("notes.txt", b"x".to_vec())]).contains("no JPEG or PNG"));
    let told = message(vec![("a/1.png", photo(1)), ("a/2.png", photo(2)), ("b/3.png", photo(3))]);
    assert!(
        told.contains("no images with label maps") && told.contains("a (2 pictures, such as 1.png)"),
        "{told}"
    );
    let one = vec![("a/1.png", photo(1)), ("b/1.png", map(&[0]))];
    assert!(message(one).contains("a single value"));
    let cityscapes = vec![("leftImg8bit/train/a/1.png", photo(1)), ("gtFine/train/a/1.png", map(&[0]))];
    assert!(message(cityscapes).contains("data-manifests/cityscapes.yaml"));
    assert!(matches!(Tree::read(Path::new("none")).map(drop).unwrap_err(), Error::Read { .. }));
    // One sample cannot be divided.
    let single = vec![("a/1.png", photo(1)), ("b/1.png", map(&[0, 1]))];
    assert!(message(single).contains("split train: there are no samples"));
}
