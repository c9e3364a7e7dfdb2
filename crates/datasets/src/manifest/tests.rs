//! Senseless manifests are refused.

use std::path::Path;

use super::*;

const GOOD: &str = "name: a
folder: a
layout:
  voc: {labels: SegmentationClass}
classes:
  - {name: x, colour: [0, 0, 0]}
  - {name: y, colour: [1, 2, 3]}
ignored: [9]
splits:
  train: {file: t.txt, count: 3}
citation: c
licence: l
obtain: o
";

fn message(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Manifest::parse(&GOOD.replace(from, to), Path::new("m.yaml")).unwrap_err().to_string()
}

#[test]
fn a_manifest_survives_writing_and_reading() {
    let manifest = Manifest::parse(GOOD, Path::new("m.yaml")).unwrap();
    assert_eq!(manifest.palette(), [[0, 0, 0], [1, 2, 3]]);
    let text = serde_yaml::to_string(&manifest).unwrap();
    assert_eq!(Manifest::parse(&text, Path::new("m.yaml")).unwrap(), manifest);
}

#[test]
fn what_the_reader_refuses_has_line_and_column() {
    for (from, to, place, part) in [
        ("ignored: [9]", "ignore: [9]", "m.yaml:8:1", "ignore"),
        ("count: 3", "count: three", "m.yaml:10:", "three"),
        ("count: 3", "counts: 3", "m.yaml:10:", "counts"),
        ("SegmentationClass}", "Segmentation}", "m.yaml:4:", "Segmentation"),
        ("ignored: [9]", "ignored: [300]", "m.yaml:8:", "300"),
        ("ignored: [9]", "name: b", "m.yaml:8:", "name"),
    ] {
        let found = message(from, to);
        assert!(found.contains(place) && found.contains(part), "{to}: {found}");
    }
}

fn archive(url: &str, folder: &str) -> String {
    format!("obtain: o\narchives:\n  - {{url: '{url}', md5: '{}', folder: '{folder}'}}", "0".repeat(32))
}

#[test]
fn what_makes_no_sense_is_named() {
    for (from, to, part) in [
        ("ignored: [9]", "ignored: [1]", "ignored: 1 is the class `y`"),
        ("name: y", "name: x", "`x` stands there twice"),
        ("  - {name: y, colour: [1, 2, 3]}\n", "", "classes: expected at least 2, found 1"),
        ("ignored: [9]", "labels_by: colour", "labels_by: this layout knows"),
        ("ignored: [9]", "ignored_colours: [[1, 1, 1]]", "ignored_colours: labels_by is not colour"),
        ("[1, 2, 3]}", "[1, 2, 3], label_colours: [[3, 2, 1]]}", "`y` has label_colours, but labels_by"),
        ("[1, 2, 3]}", "[1, 2, 3], value: 3}", "classes: this layout knows the values"),
        ("count: 3", "count: 0", "splits.train.count"),
        ("file: t.txt, ", "", "splits.train.file: is missing"),
        ("count: 3", "count: 3, may_overlap: [val]", "no split `val`"),
        ("count: 3", "count: 3, ids_sha256: 12AB", "splits.train.ids_sha256"),
        ("obtain: o", &archive("ftp://a/b.tar", "a"), "archives[0].url: `ftp://a/b.tar`"),
        ("obtain: o", &archive("https://a/", "a"), "does not end with the name of a file"),
        ("obtain: o", &archive("https://a/..", "a"), "does not end with the name of a file"),
        ("obtain: o", &archive("https://a/b.tar", "../a"), "archives[0].folder: `../a`"),
        ("obtain: o", &archive("https://a/b.tar", "/a"), "archives[0].folder: `/a`"),
        ("obtain: o", &archive("https://a/b.tar", "a").replace("00", "0"), "archives[0].md5"),
        (
            "  voc: {labels: SegmentationClass}",
            "  cityscapes:",
            "splits.train.file: this layout has no lists",
        ),
    ] {
        let found = message(from, to);
        assert!(found.contains(part), "{to}: {found}");
    }
    assert!(Manifest::load(Path::new("none.yaml")).unwrap_err().to_string().contains("none.yaml"));
}
