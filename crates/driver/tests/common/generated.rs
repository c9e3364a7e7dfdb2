//! A generated dataset of four scenes to train on and two to validate on: its manifest and a spec.

use std::fs;
use std::path::Path;

pub const MANIFEST: &str = "
name: scenes
folder: scenes
layout:
  synthetic: {height: 20, width: 28, seed: 1}
classes:
  - {name: ground, colour: [0, 0, 0]}
  - {name: stripes, colour: [200, 80, 60]}
  - {name: steps, colour: [60, 110, 200]}
splits:
  train: {count: 4}
  val: {count: 2}
citation: none
licence: generated
obtain: nothing to obtain
";

const SPEC: &str = "
name: scenes
data: {manifest: scenes.yaml}
model: {layers: [1, 1, 1, 1], width: 4}
training:
  method: basic
  epochs: 1
  batch_size: 2
  augmentation: {crop: 17}
evaluation:
  curves:
    - fgsm: {epsilons: [0, 0.03]}
  examples: 0
";

/// Writes `scenes.yaml`, and `spec.yaml` with batches of `batch_size`, into `folder`.
pub fn write(folder: &Path, batch_size: usize) {
    fs::write(folder.join("scenes.yaml"), MANIFEST).unwrap();
    let batches = format!("batch_size: {batch_size}");
    fs::write(folder.join("spec.yaml"), SPEC.replace("batch_size: 2", &batches)).unwrap();
}
