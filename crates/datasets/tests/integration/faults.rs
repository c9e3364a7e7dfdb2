//! Faults of a dataset, each with an error that names the file.

use std::fs;
use std::path::Path;

use robustseg_datasets::{Dataset, Error, Manifest, Result, check};
use tempfile::TempDir;

use crate::common::{image, label, manifest, write_gray, write_image, write_palette, write_rgba};

/// A dataset without faults in VOC's layout, with three samples.
struct Tree {
    folder: TempDir,
    manifest: Manifest,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(
            "name: tiny
folder: tiny_voc
layout:
  voc: {labels: SegmentationClass}
classes:
  - {name: background, colour: [0, 0, 0]}
  - {name: cat, colour: [64, 0, 0]}
splits:
  train: {file: train.txt, count: 2}
  val: {file: val.txt, count: 1}
citation: c
licence: l
obtain: ask the
  author
",
        );
        let tree = Self { folder, manifest };
        for id in ["a", "b", "c"] {
            // The pixels differ between the images.
            let mut image = image(8, 6);
            image.data[0] = id.as_bytes()[0];
            write_image(&tree.path(&format!("JPEGImages/{id}.jpg")), &image);
            write_palette(
                &tree.path(&format!("SegmentationClass/{id}.png")),
                &label(8, 6, |x, _| x as u8 % 2),
            );
        }
        fs::write(tree.path("train.txt"), "a\nb\n").unwrap();
        fs::write(tree.path("val.txt"), "c\n").unwrap();
        tree
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// The error of opening train and reading all its samples.
    fn fault(&self) -> String {
        let read = || -> Result<()> {
            let train = Dataset::open(&self.manifest, self.folder.path(), "train")?;
            train.samples(0..train.len()).try_for_each(|sample| sample.map(|_| ()))
        };
        read().unwrap_err().to_string()
    }

    /// The faults of train that a check finds.
    fn faults(&self) -> Vec<String> {
        let report = check(&self.manifest, self.folder.path(), |_, _| ()).unwrap();
        assert_eq!(report.splits[1].faults, [""; 0]);
        assert_eq!(report.is_sound(), report.splits[0].faults.is_empty());
        report.splits[0].faults.clone()
    }

    /// Asserts that reading and checking find a single fault with `parts` in its message.
    fn assert_fault(&self, parts: &[&str]) {
        let (fault, faults) = (self.fault(), self.faults());
        assert_eq!(faults.len(), 1, "{faults:?}");
        for part in parts {
            assert!(fault.contains(part) && faults[0].contains(part), "{part}: {fault} and {faults:?}");
        }
    }
}

#[test]
fn a_sound_dataset_has_no_faults() {
    assert_eq!(Tree::new().faults(), [""; 0]);
}

#[test]
fn a_missing_dataset_or_list_says_where_and_how_to_get_it() {
    let tree = Tree::new();
    let nowhere = tree.path("nowhere");
    let error = Dataset::open(&tree.manifest, &nowhere, "train").unwrap_err();
    assert!(matches!(error, Error::Missing { .. }));
    let expected = [nowhere.to_str().unwrap(), "$ROBUSTSEG_DATA/tiny_voc", "to get it: ask the author"];
    for part in expected {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    tree.remove("train.txt");
    let list = tree.path("train.txt");
    assert!(tree.fault().contains(list.to_str().unwrap()), "{}", tree.fault());
    assert!(check(&tree.manifest, tree.folder.path(), |_, _| ()).is_err());
}

#[test]
fn a_missing_dataset_that_can_be_fetched_says_so_and_no_more() {
    let manifest = crate::common::project_manifest("voc2012");
    let missing = |root: &str| Dataset::open(&manifest, Path::new(root), "val").unwrap_err().to_string();
    for root in ["/nowhere/VOCdevkit/VOC2012", "/nowhere"] {
        let message = missing(root);
        let place = message.find("robustseg data fetch ").expect("the command");
        assert!(message[place..].ends_with("data-manifests/voc2012.yaml --root /nowhere"), "{message}");
        assert!(!message.contains("benchmark.tgz"), "{message}");
    }
}

#[test]
fn an_unknown_split_names_the_known_ones() {
    let tree = Tree::new();
    let error = Dataset::open(&tree.manifest, tree.folder.path(), "test").unwrap_err().to_string();
    assert_eq!(error, "data tiny: no split `test`, there are train, val");
}

#[test]
fn a_malformed_list_names_file_and_line() {
    let tree = Tree::new();
    for (list, place, reason) in [
        ("a\nb\n\na\n", "train.txt:4: ", "`a` stands there a second time"),
        ("a\nb c\n", "train.txt:2: ", "expected one id, found 2 words"),
    ] {
        fs::write(tree.path("train.txt"), list).unwrap();
        assert!(tree.fault().contains(place) && tree.fault().contains(reason), "{}", tree.fault());
    }
    fs::write(tree.path("train.txt"), b"a\n\xff\n").unwrap();
    assert!(tree.fault().contains("train.txt: cannot be read"), "{}", tree.fault());
}

#[test]
fn a_count_that_is_not_the_manifests_names_the_list() {
    let mut tree = Tree::new();
    tree.manifest.splits.get_mut("train").unwrap().count = Some(3);
    let fault = tree.fault();
    assert!(fault.contains("expected 3 samples, found 2 in ") && fault.ends_with("train.txt"), "{fault}");
    assert_eq!(tree.faults(), [fault]);
}

#[test]
fn other_ids_than_the_manifests_name_the_list() {
    let mut tree = Tree::new();
    // `printf 'a\nb\n' | sha256sum`
    let right = "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2".to_owned();
    tree.manifest.splits.get_mut("train").unwrap().ids_sha256 = Some(right.clone());
    fs::write(tree.path("train.txt"), "b\na\n").unwrap();
    assert_eq!(tree.faults(), [""; 0]);
    fs::write(tree.path("train.txt"), "a\nc\n").unwrap();
    let fault = tree.fault();
    assert!(fault.contains("train.txt") && fault.contains(&format!("not {right}")), "{fault}");
}

#[test]
fn a_sample_without_a_file_names_it() {
    for (what, file) in [("image", "JPEGImages/b.jpg"), ("label", "SegmentationClass/b.png")] {
        let tree = Tree::new();
        tree.remove(file);
        tree.assert_fault(&["sample b: no ", what, file]);
    }
}

#[test]
fn sizes_that_differ_name_both_files() {
    for (width, height) in [(7, 6), (8, 5), (6, 8), (1, 1)] {
        let tree = Tree::new();
        write_palette(&tree.path("SegmentationClass/b.png"), &label(width, height, |_, _| 0));
        let size = format!("b.png is {width}x{height}");
        tree.assert_fault(&["JPEGImages/b.jpg is 8x6", &size]);
    }
}

#[test]
fn a_label_value_that_is_no_class_has_its_first_pixel_named() {
    let tree = Tree::new();
    let path = tree.path("SegmentationClass/b.png");
    write_palette(&path, &label(8, 6, |x, y| if y > 2 && x > 4 { 2 } else { 1 }));
    tree.assert_fault(&["SegmentationClass/b.png: value 2 at x 5, y 3", "2 classes"]);
    write_gray(&path, &label(8, 6, |_, _| 254));
    tree.assert_fault(&["SegmentationClass/b.png: value 254 at x 0, y 0"]);
}

#[test]
fn invalid_pictures_are_named() {
    for (file, content, reason) in [
        ("JPEGImages/b.jpg", "", "is empty"),
        ("JPEGImages/b.jpg", "<html>not found</html>", "neither JPEG nor PNG"),
        ("SegmentationClass/b.png", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ] {
        let tree = Tree::new();
        fs::write(tree.path(file), content).unwrap();
        tree.assert_fault(&[file, reason]);
    }
}

#[test]
fn splits_that_share_samples_are_unsound_unless_the_manifest_allows_it() {
    let mut tree = Tree::new();
    fs::write(tree.path("val.txt"), "b\n").unwrap();
    let sound = |manifest: &Manifest, root: &Path| {
        let report = check(manifest, root, |_, _| ()).unwrap();
        assert_eq!((report.overlaps.len(), report.overlaps[0].count), (1, 1));
        report.is_sound()
    };
    assert!(!sound(&tree.manifest, tree.folder.path()));
    tree.manifest.splits.get_mut("val").unwrap().may_overlap.push("train".into());
    assert!(sound(&tree.manifest, tree.folder.path()));
}

#[test]
fn images_that_splits_share_are_known_by_their_content_and_not_by_their_names() {
    let tree = Tree::new();
    let overlaps = || check(&tree.manifest, tree.folder.path(), |_, _| ()).unwrap().overlaps;
    // A copy under another name.
    fs::copy(tree.path("JPEGImages/a.jpg"), tree.path("JPEGImages/c.jpg")).unwrap();
    let [found] = &overlaps()[..] else { panic!("{:?}", overlaps()) };
    assert_eq!((found.count, found.allowed), (1, false));
    assert_eq!(found.examples, [("a".to_owned(), "c".to_owned())]);
    let open = |split: &str| Dataset::open(&tree.manifest, tree.folder.path(), split).unwrap();
    assert_eq!(open("train").shared_with(&open("val")).unwrap().examples, found.examples);
    // The same pixels in another file are recognised only by decoding.
    let again = robustseg_datasets::read_image(&tree.path("JPEGImages/a.jpg")).unwrap();
    let pixels: Vec<[u8; 4]> =
        again.data.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    write_rgba(&tree.path("JPEGImages/c.jpg"), (8, 6), &pixels);
    assert_eq!(overlaps()[0].count, 1);
    assert_eq!(open("train").shared_with(&open("val")), None);
    // A single pixel makes it another picture.
    let mut other = again;
    other.data[7] ^= 1;
    write_image(&tree.path("JPEGImages/c.jpg"), &other);
    assert_eq!(overlaps(), []);
}

#[test]
fn classes_that_no_pixel_has_are_a_warning_of_a_look_and_of_a_check() {
    let tree = Tree::new();
    let open = || Dataset::open(&tree.manifest, tree.folder.path(), "train").unwrap();
    let checked = || {
        let report = check(&tree.manifest, tree.folder.path(), |_, _| ()).unwrap();
        assert!(report.is_sound());
        report.splits[0].warnings.clone()
    };
    assert_eq!((open().warnings(), checked()), (vec![], vec![]));
    for id in ["a", "b"] {
        write_gray(&tree.path(&format!("SegmentationClass/{id}.png")), &label(8, 6, |_, _| 0));
    }
    let expected = ["no pixel is labelled `cat`"];
    assert_eq!(
        (&open().warnings()[..], &checked()[..]),
        (&expected.map(String::from)[..], &expected.map(String::from)[..])
    );
    for id in ["a", "b"] {
        write_gray(&tree.path(&format!("SegmentationClass/{id}.png")), &label(8, 6, |_, _| 255));
    }
    assert_eq!(open().warnings(), ["no pixel is labelled"]);
    // A label that cannot be read is not a warning.
    fs::write(tree.path("SegmentationClass/a.png"), "").unwrap();
    assert_eq!(open().warnings(), ["no pixel is labelled"]);
}

#[test]
fn inspecting_calls_progress_once_a_sample_and_finds_every_fault() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let tree = Tree::new();
    let train = Dataset::open(&tree.manifest, tree.folder.path(), "train").unwrap();
    tree.remove("JPEGImages/a.jpg");
    fs::write(tree.path("SegmentationClass/b.png"), "").unwrap();
    let calls = AtomicUsize::new(0);
    let report = train.inspect(|| {
        calls.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(calls.into_inner(), 2);
    assert!(report.faults[0].contains("a.jpg") && report.faults[1].contains("b.png"), "{:?}", report.faults);
    let error = train.check().unwrap_err().to_string();
    assert!(error.contains("2 of 2 samples are broken") && error.contains(&report.faults[1]), "{error}");
}
