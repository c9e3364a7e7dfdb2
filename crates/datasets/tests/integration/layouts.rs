//! Reads each layout from a small imitation of it.

use std::fs;

use robustseg_datasets::{Dataset, IGNORE_LABEL, Layout, Manifest, Sample, Voc, VocLabels, check};

use crate::common::{image, label, manifest, project_manifest, write_gray, write_image, write_palette};

#[test]
fn voc_labels_are_the_palette_indices_of_the_folder_that_the_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let picture = image(7, 5);
    let own = label(7, 5, |x, y| [0, 1, 20, IGNORE_LABEL][(x + y) % 4]);
    let augmented = label(7, 5, |x, _| x as u8);
    // The content determines the format: this .jpg is a PNG, so that its pixels are known.
    write_image(&root.join("JPEGImages/2007_000001.jpg"), &picture);
    write_palette(&root.join("SegmentationClass/2007_000001.png"), &own);
    write_palette(&root.join("SegmentationClassAug/2007_000001.png"), &augmented);
    fs::create_dir_all(root.join("ImageSets/Segmentation")).unwrap();
    fs::write(root.join("ImageSets/Segmentation/val.txt"), "2007_000001\n").unwrap();
    let mut manifest = project_manifest("voc2012");
    let val = manifest.splits.get_mut("val").unwrap();
    (val.count, val.ids_sha256) = (Some(1), None);
    for (labels, expected) in
        [(VocLabels::SegmentationClass, own), (VocLabels::SegmentationClassAug, augmented)]
    {
        manifest.layout = Voc { labels }.into();
        let sample = Dataset::open(&manifest, root, "val").unwrap().load(0).unwrap();
        assert_eq!(sample, Sample { id: "2007_000001".into(), image: picture.clone(), label: expected });
    }
}

/// `trainId` of the ids 0 to 33, from `cityscapesscripts/helpers/labels.py`.
const CITYSCAPES_TRAINING_IDS: [u8; 34] = [
    255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11,
    12, 13, 14, 15, 255, 255, 16, 17, 18,
];

#[test]
fn every_cityscapes_id_becomes_its_training_class() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut manifest = project_manifest("cityscapes");
    manifest.splits.get_mut("val").unwrap().count = Some(3);
    // The last is -1, the licence plate, as an unsigned byte.
    let ids = label(35, 1, |x, _| if x == 34 { 255 } else { x as u8 });
    for (city, frame) in [("ulm", 1), ("bonn", 2), ("bonn", 1)] {
        let name = format!("{city}_00000{frame}_000019");
        write_image(
            &root.join("leftImg8bit/val").join(city).join(format!("{name}_leftImg8bit.png")),
            &image(35, 1),
        );
        write_gray(&root.join("gtFine/val").join(city).join(format!("{name}_gtFine_labelIds.png")), &ids);
    }
    fs::write(root.join("leftImg8bit/val/bonn/notes.txt"), "not an image").unwrap();
    let dataset = Dataset::open(&manifest, root, "val").unwrap();
    let names: Vec<&str> = (0..3).map(|index| dataset.id(index)).collect();
    assert_eq!(names, ["bonn/bonn_000001_000019", "bonn/bonn_000002_000019", "ulm/ulm_000001_000019"]);
    let expected: Vec<u8> = CITYSCAPES_TRAINING_IDS.into_iter().chain([255]).collect();
    assert_eq!(dataset.load(1).unwrap().label.data, expected);

    for unknown in 34..255 {
        let path = root.join("gtFine/val/ulm/ulm_000001_000019_gtFine_labelIds.png");
        write_gray(&path, &label(35, 1, |_, _| unknown));
        let error = dataset.load(2).unwrap_err().to_string();
        assert!(error.contains(&format!("value {unknown} at x 0, y 0")), "{error}");
    }
}

#[test]
fn ids_and_training_ids_of_cityscapes_are_not_confused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut manifest = project_manifest("cityscapes");
    manifest.splits.retain(|split, _| split == "val");
    manifest.splits.get_mut("val").unwrap().count = Some(1);
    let path = |kind: &str| root.join(format!("gtFine/val/ulm/ulm_000000_000019_gtFine_{kind}.png"));
    let ids = label(34, 2, |x, _| x as u8);
    let training = label(34, 2, |x, _| CITYSCAPES_TRAINING_IDS[x]);
    write_image(&root.join("leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"), &image(34, 2));
    let faults = || check(&manifest, root, |_, _| ()).unwrap().splits[0].faults.clone();

    write_gray(&path("labelIds"), &ids);
    assert_eq!(faults(), [""; 0], "training ids need not be there");
    write_gray(&path("labelTrainIds"), &training);
    assert_eq!(faults(), [""; 0]);
    for (drawn, reason) in [
        (ids.clone(), "holds the id 19"),
        (label(34, 1, |x, _| CITYSCAPES_TRAINING_IDS[x]), "is 34x1, but"),
        (
            label(34, 2, |x, y| if (x, y) == (7, 1) { 3 } else { CITYSCAPES_TRAINING_IDS[x] }),
            "has training id 3 at x 7, y 1",
        ),
    ] {
        write_gray(&path("labelTrainIds"), &drawn);
        let [fault] = &faults()[..] else { panic!("{:?}", faults()) };
        assert!(fault.contains("_labelTrainIds.png") && fault.contains(reason), "{fault}");
    }
    write_gray(&path("labelTrainIds"), &training);
    write_gray(&path("labelIds"), &training);
    let [fault] = &faults()[..] else { panic!("{:?}", faults()) };
    assert!(fault.contains("_labelIds.png: holds training ids"), "{fault}");
    // The labels of test are not public, and their files contain only 0 to 3.
    fs::remove_file(path("labelTrainIds")).unwrap();
    write_gray(&path("labelIds"), &label(34, 2, |x, _| x as u8 % 4));
    assert_eq!(faults(), [""; 0]);
}

#[test]
fn camvid_lists_name_an_image_and_a_label_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut manifest = project_manifest("camvid");
    manifest.splits.get_mut("test").unwrap().count = Some(2);
    for (name, width) in [("b", 8), ("a", 9)] {
        write_image(&root.join(format!("test/{name}.png")), &image(width, 4));
        write_gray(&root.join(format!("testannot/{name}.png")), &label(width, 4, |x, _| x as u8 + 4));
    }
    // A list from a Windows editor, with a blank line.
    let list = "\u{feff}test/b.png testannot/b.png\r\n\r\ntest/a.png\ttestannot/a.png\r\n";
    fs::write(root.join("test.txt"), list).unwrap();
    let dataset = Dataset::open(&manifest, root, "test").unwrap();
    assert_eq!([dataset.id(0), dataset.id(1)], ["test/b", "test/a"]);
    let sample = dataset.load(0).unwrap();
    assert_eq!(sample.image, image(8, 4));
    // 11 is void. 12 would be invalid.
    assert_eq!(sample.label.data[..8], [4, 5, 6, 7, 8, 9, 10, IGNORE_LABEL]);
    assert!(dataset.load(1).unwrap_err().to_string().contains("value 12 at x 8, y 0"));
}

/// An unknown dataset with its own values.
const FOLDERS: &str = "name: fields
folder: fields
layout:
  folders:
    images: {folder: images, suffix: .jpg}
    labels: {folder: '{split}/labels', suffix: _ids.png}
classes:
  - {name: soil, colour: [120, 80, 40], value: 10}
  - {name: crop, colour: [40, 160, 60]}
ignored: [0]
splits:
  train: {count: 3}
  val: {count: 2, file: val.txt}
citation: c
licence: l
obtain: o
";

#[test]
fn folders_of_images_and_labels_need_a_manifest_and_no_code() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for id in ["b", "a", "sub/c"] {
        write_image(&root.join(format!("images/{id}.jpg")), &image(4, 2));
        for split in ["train", "val"] {
            let values = label(4, 2, |x, _| [0, 1, 10, 255][x]);
            write_gray(&root.join(format!("{split}/labels/{id}_ids.png")), &values);
        }
    }
    fs::write(root.join("images/notes.txt"), "no image").unwrap();
    fs::write(root.join("val.txt"), "sub/c\nb\n").unwrap();
    let mut manifest = manifest(FOLDERS);
    manifest.splits.get_mut("train").unwrap().count = Some(2);
    let ids = |split| {
        let dataset = Dataset::open(&manifest, root, split).unwrap();
        (0..dataset.len()).map(|index| dataset.id(index).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((ids("train"), ids("val")), (vec!["a".into(), "b".into()], vec!["sub/c".into(), "b".into()]));
    let sample = Dataset::open(&manifest, root, "val").unwrap().load(0).unwrap();
    assert_eq!(sample.image, image(4, 2));
    assert_eq!(sample.label.data[..4], [IGNORE_LABEL, 1, 0, IGNORE_LABEL]);

    fs::remove_file(root.join("train/labels/a_ids.png")).unwrap();
    let error = Dataset::open(&manifest, root, "train").unwrap_err().to_string();
    assert!(error.contains("sample a: no label") && error.contains("train/labels/a_ids.png"), "{error}");
    fs::remove_file(root.join("val.txt")).unwrap();
    assert!(Dataset::open(&manifest, root, "val").unwrap_err().to_string().contains("val.txt is missing"));
}

/// A folder of images and labels, both below the folders that the manifest names `images` and
/// `train/labels`.
fn fields(images: &[&str], labels: &[&str]) -> (tempfile::TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    for name in images {
        write_image(&folder.path().join("images").join(name), &image(4, 2));
    }
    for name in labels {
        write_gray(&folder.path().join("train/labels").join(name), &label(4, 2, |_, _| 1));
    }
    let mut manifest = manifest(FOLDERS);
    manifest.splits.get_mut("train").unwrap().count = Some(images.len());
    (folder, manifest)
}

fn ids_of_train(folder: &tempfile::TempDir, manifest: &Manifest) -> Vec<String> {
    let train = Dataset::open(manifest, folder.path(), "train").unwrap();
    (0..train.len()).map(|index| train.load(index).unwrap().id).collect()
}

#[test]
fn files_that_systems_leave_in_folders_are_not_samples() {
    let (folder, manifest) = fields(&["a.jpg", "b.jpg"], &["a_ids.png", "b_ids.png"]);
    for name in ["._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.jpg"] {
        fs::write(folder.path().join("images").join(name), "no image").unwrap();
    }
    fs::write(folder.path().join("train/labels/._a_ids.png"), "no label").unwrap();
    assert_eq!(ids_of_train(&folder, &manifest), ["a", "b"]);
}

#[test]
fn suffixes_match_in_small_and_capital_letters() {
    let (folder, mut manifest) =
        fields(&["a.JPG", "b.jpg", "B.Jpg"], &["a_ids.PNG", "b_IDS.png", "B_ids.png"]);
    assert_eq!(ids_of_train(&folder, &manifest), ["B", "a", "b"]);
    fs::write(folder.path().join("list.txt"), "a\nb\nB\n").unwrap();
    manifest.splits.get_mut("train").unwrap().file = Some("list.txt".into());
    assert_eq!(ids_of_train(&folder, &manifest), ["a", "b", "B"]);

    manifest.splits.get_mut("train").unwrap().file = None;
    write_image(&folder.path().join("images/a.jpg"), &image(4, 2));
    let error = Dataset::open(&manifest, folder.path(), "train").unwrap_err().to_string();
    assert!(error.contains("sample a: ") && error.contains("images/a.jpg is a second image"), "{error}");
}

#[test]
fn masks_may_be_next_to_images() {
    let (folder, mut manifest) = fields(&["a.png", "b.png"], &[]);
    for id in ["a", "b"] {
        write_gray(&folder.path().join(format!("images/{id}_mask.PNG")), &label(4, 2, |_, _| 1));
    }
    let Layout::Folders(layout) = &mut manifest.layout else { panic!() };
    layout.images.suffix = ".png".into();
    (layout.labels.folder, layout.labels.suffix) = ("images".into(), "_mask.png".into());
    assert_eq!(ids_of_train(&folder, &manifest), ["a", "b"]);
}

#[test]
fn names_may_hold_spaces() {
    let (folder, mut manifest) = fields(&["my field 1.jpg", "b.jpg"], &["my field 1_ids.png", "b_ids.png"]);
    assert_eq!(ids_of_train(&folder, &manifest), ["b", "my field 1"]);
    fs::write(folder.path().join("list.txt"), "my field 1\r\n b \r\n").unwrap();
    manifest.splits.get_mut("train").unwrap().file = Some("list.txt".into());
    assert_eq!(ids_of_train(&folder, &manifest), ["my field 1", "b"]);

    manifest.layout = Layout::Pairs;
    let line = "images/my field 1.jpg\ttrain/labels/my field 1_ids.png\n";
    fs::write(folder.path().join("list.txt"), format!("{line}images/b.jpg train/labels/b_ids.png\n"))
        .unwrap();
    assert_eq!(ids_of_train(&folder, &manifest), ["images/my field 1", "images/b"]);
    fs::write(folder.path().join("list.txt"), line.replace('\t', " ")).unwrap();
    let error = Dataset::open(&manifest, folder.path(), "train").unwrap_err().to_string();
    assert!(
        error.contains("list.txt:1: ") && error.contains("found 6 words; if names hold spaces"),
        "{error}"
    );
}

#[test]
fn folders_that_make_no_sense_are_named() {
    let refused = |from: &str, to: &str| {
        assert!(FOLDERS.contains(from));
        Manifest::parse(&FOLDERS.replace(from, to), "m.yaml".as_ref()).unwrap_err().to_string()
    };
    for (from, to, part) in [
        ("value: 10", "value: 1", "the value 1 of `crop` occurs twice"),
        ("value: 10", "value: [10, 1]", "the value 1 of `crop` occurs twice"),
        ("value: 10", "value: []", "the list of values is empty"),
        ("value: 10", "value: 300", "the value 300 is not from 0 to 255"),
        ("value: 10", "value: [9, 300]", "300"),
        ("ignored: [0]", "ignored: [10]", "ignored: 10 is the class `soil`"),
        ("ignored: [0]", "ignored: [1]", "ignored: 1 is the class `crop`"),
        ("_ids.png", "''", "a suffix is empty"),
        ("{folder: '{split}/labels', suffix: _ids.png}", "{folder: images, suffix: .jpg}", "the same files"),
    ] {
        let found = refused(from, to);
        assert!(found.contains(part), "{to}: {found}");
    }
}
