//! Generated datasets: their manifests and a spec.

use std::fs;
use std::path::Path;

/// The manifest `name` of scenes of `height` x `width` pixels with the first `classes` classes: `train`
/// scenes to train on and `val` to validate on.
pub fn manifest(name: &str, [height, width]: [usize; 2], classes: usize, [train, val]: [usize; 2]) -> String {
    let known = [
        ("ground", [0, 0, 0]),
        ("stripes", [200, 80, 60]),
        ("steps", [60, 110, 200]),
        ("dots", [70, 180, 90]),
    ];
    let class = |(name, colour): &(&str, [u8; 3])| format!("  - {{name: {name}, colour: {colour:?}}}\n");
    let classes: String = known[..classes].iter().map(class).collect();
    format!(
        "name: {name}
folder: {name}
layout:
  synthetic: {{height: {height}, width: {width}, seed: 1}}
classes:
{classes}splits:
  train: {{count: {train}}}
  val: {{count: {val}}}
citation: none
licence: generated
obtain: nothing to obtain
"
    )
}

/// Four scenes to train on and two to validate on.
pub fn scenes() -> String {
    manifest("scenes", [20, 28], 3, [4, 2])
}

/// Nine scenes to train on and three to validate on.
pub fn tiny() -> String {
    manifest("tiny", [24, 32], 3, [9, 3])
}

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
    fs::write(folder.join("scenes.yaml"), scenes()).unwrap();
    let batches = format!("batch_size: {batch_size}");
    fs::write(folder.join("spec.yaml"), SPEC.replace("batch_size: 2", &batches)).unwrap();
}
