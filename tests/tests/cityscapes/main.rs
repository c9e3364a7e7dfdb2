//! Cityscapes' ids, training ids and scores compared with the published tool. `golden.py` made the
//! case.

use robustseg_datasets::{Dataset, Manifest, check, read_label};
use robustseg_metrics::ConfusionMatrix;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cityscapes")
}

/// The project's manifest, reduced to the single split of the case.
fn manifest() -> Manifest {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data-manifests/cityscapes.yaml");
    let mut manifest = Manifest::load(&path).expect("the project's manifest");
    manifest.splits.retain(|split, _| split == "val");
    manifest.splits.get_mut("val").expect("val").count = Some(3);
    manifest
}

#[test]
fn confusion_matrix_and_iou_are_those_of_cityscapesscripts() {
    let text = std::fs::read_to_string(folder().join("golden.json")).expect("the golden case");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let manifest = manifest();
    let names: Vec<Value> = manifest.classes.iter().map(|class| class.name.clone().into()).collect();
    assert_eq!(golden["classes"], Value::from(names));

    let val = Dataset::open(&manifest, &folder().join("data"), "val").expect("the case's data");
    let mut matrix = ConfusionMatrix::new(val.num_classes());
    for sample in val.samples(0..val.len()) {
        let sample = sample.expect("a whole sample");
        let frame = sample.id.strip_prefix("ulm/").expect("the case's city");
        let path = folder().join(format!("data/predictions/{frame}.png"));
        let prediction = read_label(&path).expect("the case's prediction");
        matrix.update(&prediction.data, &sample.label.data).expect("classes alone");
    }
    let rows: Vec<Vec<u64>> = matrix.counts().chunks(19).map(Into::into).collect();
    assert_eq!(golden["confusion"], serde_json::json!(rows));
    assert_eq!(golden["iou"], serde_json::json!(matrix.iou()));
    assert!(matrix.iou().contains(&None), "one class occurs nowhere");
    let mean = golden["mean_iou"].as_f64().expect("a number");
    assert!((matrix.mean_iou().expect("pixels were counted") - mean).abs() < 1e-12);
}

/// The tool drew both kinds of labels, so mapping one kind must give the other.
#[test]
fn ids_become_the_training_ids_that_the_tool_draws() {
    let root = folder().join("data");
    let val = Dataset::open(&manifest(), &root, "val").expect("the case's data");
    for sample in val.samples(0..val.len()) {
        let sample = sample.expect("a whole sample");
        let path = root.join(format!("gtFine/val/{}_gtFine_labelTrainIds.png", sample.id));
        assert_eq!(sample.label, read_label(&path).expect("the tool's training ids"), "{}", sample.id);
    }
    let report = check(&manifest(), &root, |_, _| ()).expect("the case's data");
    assert!(report.is_sound(), "{report:?}");
}
