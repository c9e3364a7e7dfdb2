//! Compares `CamVid` and the sample of PASCAL VOC 2012, if available, with published and
//! independently computed facts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use robustseg_datasets::{CheckReport, Dataset, SplitReport, check};

use crate::common::{label, project_manifest, real_data, write_palette};

fn by_split(report: &CheckReport) -> BTreeMap<&str, &SplitReport> {
    report.splits.iter().map(|split| (split.split.as_str(), split)).collect()
}

/// Split, samples, SHA-256 of the ids.
type Facts = [(&'static str, usize, &'static str)];

fn assert_sound(report: &CheckReport, facts: &Facts) {
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.splits.len(), facts.len());
    for (split, count, ids) in facts {
        let found = by_split(report)[split];
        assert_eq!((found.count, found.ids_sha256.as_str()), (*count, *ids), "{split}");
    }
}

/// Percent of all pixels in train, val and test, from the data's README; the last is void.
const CAMVID_SHARES: [[f64; 3]; 12] = [
    [16.85, 9.18, 17.07],
    [23.26, 25.96, 24.61],
    [0.98, 0.56, 1.18],
    [31.66, 28.95, 25.81],
    [4.49, 8.72, 9.27],
    [9.72, 16.34, 11.25],
    [1.17, 0.89, 1.01],
    [1.13, 3.08, 1.18],
    [5.87, 1.75, 3.97],
    [0.64, 0.65, 0.63],
    [0.29, 2.22, 0.19],
    [3.95, 1.70, 3.83],
];

#[test]
fn camvid_is_sound_and_its_classes_have_the_published_shares() {
    let Some(root) = real_data("camvid") else { return };
    let report = check(&project_manifest("camvid"), &root, |_, _| ()).unwrap();
    // `cut -d. -f1 train.txt | LC_ALL=C sort | sha256sum`
    let facts = [
        ("train", 367, "fa95c249595b1e53acb13c974c3b6c393d0f97c1a1e141027678f696b99e8b39"),
        ("val", 101, "d87d075939747f6afc846cc6669386bf30afb3da6266fced4e15c62f3df569e8"),
        ("test", 233, "6cc73fce103d7426c6e977fb009fc2f18407e051d97cb97edb6b7f5faed48ee6"),
    ];
    assert_sound(&report, &facts);
    assert!(report.overlaps.is_empty(), "{:?}", report.overlaps);
    for (column, (split, count, _)) in facts.into_iter().enumerate() {
        let found = by_split(&report)[split];
        assert_eq!((found.min_size, found.max_size), (Some((480, 360)), Some((480, 360))));
        let all = (count * 480 * 360) as f64;
        let pixels = found.class_pixels.iter().chain([&found.ignored_pixels]);
        for (class, (pixels, shares)) in pixels.zip(CAMVID_SHARES).enumerate() {
            let percent = 100.0 * *pixels as f64 / all;
            assert!((percent - shares[column]).abs() <= 0.005, "{split}, class {class}: {percent} %");
        }
    }
}

#[test]
fn the_voc_sample_is_sound_and_training_shares_nothing_with_validation() {
    let Some(root) = real_data("voc_sample") else { return };
    let report = check(&project_manifest("voc_sample"), &root, |_, _| ()).unwrap();
    // The lists are sorted, so these are the hashes of the files in the data's SHA256SUMS.
    assert_sound(
        &report,
        &[
            ("train", 123, "0f00a2b6ad4567810756e558b3fcec3aa8be287e8c6a68223a8d1b313762e23c"),
            ("val", 112, "febaee2aa7a2391614db4f55a7484f2a42903d872c98eeb53c620cdf7647e48d"),
            ("trainaug", 147, "83210b64947a7471453c5add44d7bee2dd282dc896bd9deb36c44e8c779d1152"),
            ("trainval", 235, "9f54e123ee7883fadf919af4719ea4dcca96697508f313f6de2cc37f05dd30b9"),
        ],
    );
    for training in ["train", "trainaug"] {
        let shared = |first: &str, second: &str| {
            report
                .overlaps
                .iter()
                .any(|o| [(first, second), (second, first)].contains(&(&o.first, &o.second)))
        };
        assert!(!shared(training, "val") && shared(training, "trainval"), "{training}");
    }
    // Counted with Pillow and numpy.
    let val = by_split(&report)["val"];
    assert_eq!(
        val.class_pixels,
        [
            13_541_386, 93_988, 53_758, 6217, 24_439, 45_426, 177_351, 110_226, 1_074_313, 86_386, 659_413,
            112_330, 784_998, 394_986, 32_754, 958_584, 10_577, 266_467, 161_723, 239_492, 104_285,
        ]
    );
    assert_eq!(val.ignored_pixels, 1_336_357);
    assert_eq!((val.min_size, val.max_size), (Some((318, 230)), Some((500, 500))));
}

#[test]
fn a_voc_label_has_the_histogram_that_pillow_finds() {
    let Some(root) = real_data("voc_sample") else { return };
    let val = Dataset::open(&project_manifest("voc_sample"), &root, "val").unwrap();
    let index = (0..val.len()).find(|index| val.id(*index) == "2007_000129").unwrap();
    let label = val.load(index).unwrap().label;
    assert_eq!((label.width, label.height), (334, 500));
    let mut pixels = BTreeMap::new();
    label.data.iter().for_each(|value| *pixels.entry(*value).or_insert(0) += 1);
    assert_eq!(pixels, BTreeMap::from([(0, 54_389), (2, 34_183), (15, 61_143), (255, 17_285)]));
}

/// Keeps `percent` of a file.
fn truncate(path: &Path, percent: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() * percent / 100]).unwrap();
}

#[test]
fn a_check_names_exactly_the_broken_files() {
    let Some(root) = real_data("voc_sample") else { return };
    let mut manifest = project_manifest("voc_sample");
    manifest.splits.retain(|split, _| split == "val");
    let list = "ImageSets/Segmentation/val.txt";
    let ids: Vec<String> =
        fs::read_to_string(root.join(list)).unwrap().lines().take(6).map(Into::into).collect();
    manifest.splits.get_mut("val").unwrap().count = Some(ids.len());

    let folder = tempfile::tempdir().unwrap();
    let image = |id: &str| format!("JPEGImages/{id}.jpg");
    let annotation = |id: &str| format!("SegmentationClassAug/{id}.png");
    for file in ids.iter().flat_map(|id| [image(id), annotation(id)]) {
        let to = folder.path().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // `fs::copy` would also copy the permissions of read-only data.
        fs::write(to, fs::read(root.join(file)).unwrap()).unwrap();
    }
    fs::create_dir_all(folder.path().join(list).parent().unwrap()).unwrap();
    fs::write(folder.path().join(list), ids.join("\n")).unwrap();
    let faults = || check(&manifest, folder.path(), |_, _| ()).unwrap().splits[0].faults.clone();
    assert_eq!(faults(), [""; 0]);

    let val = Dataset::open(&manifest, folder.path(), "val").unwrap();
    let size = val.load(4).unwrap().label;
    truncate(&folder.path().join(image(&ids[1])), 70);
    truncate(&folder.path().join(annotation(&ids[3])), 70);
    let wrong = label(size.width, size.height, |x, y| if (x, y) == (17, 9) { 21 } else { 0 });
    write_palette(&folder.path().join(annotation(&ids[4])), &wrong);
    let faults = faults();
    let parts = [
        (image(&ids[1]), "truncated JPEG"),
        (annotation(&ids[3]), "truncated PNG"),
        (annotation(&ids[4]), "value 21 at x 17, y 9"),
    ];
    assert_eq!(faults.len(), parts.len(), "{faults:?}");
    for (fault, (file, reason)) in faults.iter().zip(parts) {
        assert!(fault.contains(&file) && fault.contains(reason), "{fault}");
    }
}
