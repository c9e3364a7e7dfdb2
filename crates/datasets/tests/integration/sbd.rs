//! PASCAL VOC 2012 and SBD in the form of their archives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use robustseg_datasets::{Dataset, Error, check, read_label, read_sbd_label};

use crate::common::{project_manifest, real_data};

const VOC: &str = "VOCdevkit/VOC2012";
const SBD: &str = "benchmark_RELEASE/dataset";

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The ids of an official list.
fn official(sample: &Path, list: &str) -> Vec<String> {
    let text = fs::read_to_string(sample.join("ImageSets/official_lists").join(list)).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Both archives unpacked into `root`, with the official lists and without pictures. SBD's own
/// lists are not public here. Its two lists are imitated with trainaug without VOC's train, and
/// with parts of VOC's train and val.
fn unpacked(sample: &Path, root: &Path) {
    let (train, val) = (official(sample, "train.txt"), official(sample, "val.txt"));
    let lists = root.join(VOC).join("ImageSets/Segmentation");
    write(&lists.join("train.txt"), train.join("\n"));
    write(&lists.join("val.txt"), val.join("\n"));
    let of_train: BTreeSet<&String> = train.iter().collect();
    let mut of_sbd = official(sample, "trainaug.txt");
    of_sbd.retain(|id| !of_train.contains(id));
    of_sbd.extend(train.into_iter().step_by(2));
    of_sbd.extend(val.into_iter().step_by(3));
    let (first, second) = of_sbd.split_at(of_sbd.len() * 3 / 4);
    write(&root.join(SBD).join("train.txt"), first.join("\r\n"));
    write(&root.join(SBD).join("val.txt"), second.join("\n"));
    fs::create_dir_all(root.join(VOC).join("JPEGImages")).unwrap();
    fs::create_dir_all(root.join(SBD).join("cls")).unwrap();
}

#[test]
fn the_computed_splits_are_the_official_ones() {
    let Some(sample) = real_data("voc_sample") else { return };
    let folder = tempfile::tempdir().unwrap();
    unpacked(&sample, folder.path());
    let manifest = project_manifest("voc2012");
    for root in [folder.path().to_owned(), folder.path().join(VOC)] {
        // Count and hash of the manifest are verified first. The next fault is the first missing
        // file.
        let error = |split| Dataset::open(&manifest, &root, split).unwrap_err();
        assert!(matches!(error("trainaug"), Error::NoFile { what: "image", .. }), "{}", error("trainaug"));
        assert!(matches!(error("val"), Error::NoFile { what: "image", .. }), "{}", error("val"));
        let report = check(&manifest, &root, |_, _| ()).unwrap();
        let counts: Vec<usize> = report.splits.iter().map(|split| split.count).collect();
        assert_eq!(counts, [1464, 10_582, 1449]);
        let expected = ["aa623bd2c8ce4443", "d1326bd532648d73", "cdc1326d12f69ce5"];
        for (split, expected) in report.splits.iter().zip(expected) {
            assert!(split.ids_sha256.starts_with(expected), "{}", split.split);
            assert!(split.faults.iter().all(|fault| fault.contains("no image")));
        }
        let [overlap] = &report.overlaps[..] else { panic!("{:?}", report.overlaps) };
        assert!(overlap.allowed && overlap.count == 1464, "{overlap:?}");
    }
    // With one more id in SBD's lists, the split is no longer the official one.
    let list = folder.path().join(SBD).join("val.txt");
    let first = fs::read_to_string(folder.path().join(SBD).join("train.txt")).unwrap();
    let text = fs::read_to_string(&list).unwrap();
    let first = first.lines().next().unwrap();
    assert!(text.lines().all(|line| line != first));
    write(&list, text.replacen(text.lines().next().unwrap(), "2012_999999", 1));
    let error = Dataset::open(&manifest, folder.path(), "trainaug").unwrap_err();
    assert!(matches!(error, Error::Ids { .. } | Error::Count { .. }), "{error}");
}

#[test]
fn missing_archives_are_named_with_the_command_that_gets_them() {
    let Some(sample) = real_data("voc_sample") else { return };
    let manifest = project_manifest("voc2012");
    for gone in [PathBuf::from(VOC).join("JPEGImages"), PathBuf::from(SBD), PathBuf::from(SBD).join("cls")] {
        let folder = tempfile::tempdir().unwrap();
        unpacked(&sample, folder.path());
        fs::remove_dir_all(folder.path().join(&gone)).unwrap();
        let error = Dataset::open(&manifest, folder.path(), "trainaug").unwrap_err().to_string();
        assert!(error.contains(gone.to_str().unwrap()), "{error}");
        let command = format!("voc2012.yaml --root {}", folder.path().display());
        assert!(error.contains("robustseg data fetch") && error.ends_with(&command), "{error}");
    }
}

#[test]
fn labels_come_from_voc_where_it_has_them_and_from_sbd_elsewhere() {
    let Some(sample) = real_data("voc_sample") else { return };
    let of_sbd: Vec<String> = fs::read_dir(sample.join("sbd_reconstructed/cls"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(of_sbd.len(), 6);
    let of_voc = fs::read_to_string(sample.join("ImageSets/Segmentation/train.txt")).unwrap();
    let of_voc: Vec<&str> = of_voc.lines().take(3).collect();
    let val = fs::read_to_string(sample.join("ImageSets/Segmentation/val.txt")).unwrap();
    let val: Vec<&str> = val.lines().take(2).collect();

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let copy = |from: &str, to: String| write(&root.join(to), fs::read(sample.join(from)).unwrap());
    for id in of_voc.iter().chain(&val) {
        let label = format!("SegmentationClass/{id}.png");
        copy(&label, format!("{VOC}/{label}"));
    }
    for id in of_voc.iter().chain(&val).copied().chain(of_sbd.iter().map(String::as_str)) {
        copy(&format!("JPEGImages/{id}.jpg"), format!("{VOC}/JPEGImages/{id}.jpg"));
    }
    for id in &of_sbd {
        copy(&format!("sbd_reconstructed/cls/{id}.mat"), format!("{SBD}/cls/{id}.mat"));
    }
    let lists = root.join(VOC).join("ImageSets/Segmentation");
    write(&lists.join("train.txt"), of_voc.join("\n"));
    write(&lists.join("val.txt"), val.join("\n"));
    write(&root.join(SBD).join("train.txt"), of_sbd[..4].join("\n") + "\n" + val[0]);
    write(&root.join(SBD).join("val.txt"), of_sbd[4..].join("\n") + "\n" + of_voc[0]);
    let mut manifest = project_manifest("voc2012");
    for (split, count) in [("trainaug", 9), ("train", 3), ("val", 2)] {
        let split = manifest.splits.get_mut(split).unwrap();
        (split.count, split.ids_sha256) = (Some(count), None);
    }
    for split in ["trainaug", "train", "val"] {
        let dataset = Dataset::open(&manifest, root, split).unwrap();
        for loaded in dataset.samples(0..dataset.len()) {
            let loaded = loaded.unwrap();
            let ready = read_label(&sample.join(format!("SegmentationClassAug/{}.png", loaded.id))).unwrap();
            assert_eq!(loaded.label, ready, "{split} {}", loaded.id);
        }
    }
    // A broken label is named.
    let broken = root.join(SBD).join("cls").join(&of_sbd[0]).with_extension("mat");
    let whole = fs::read(&broken).unwrap();
    write(&broken, &whole[..whole.len() - 9]);
    let error = read_sbd_label(&broken).unwrap_err().to_string();
    assert!(error.contains(broken.to_str().unwrap()) && error.contains("truncated"), "{error}");
}
