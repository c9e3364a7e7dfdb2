//! The worst case over every attack in `images.jsonl` files: `worst_case CLASSES FILE...`, each from a run directory.
//!
//! `cargo run -p robustseg-metrics --example worst_case -- 11 runs/camvid_bim/images.jsonl`

use std::collections::BTreeMap;

use robustseg_metrics::{ConfusionMatrix, Overlap, greedy_mean_iou, lowest_accuracy};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let classes: usize = arguments.next().ok_or("usage: worst_case CLASSES FILE...")?.parse()?;
    // By epsilon, then by image: what every attack made of it.
    let mut seen: BTreeMap<String, BTreeMap<String, Vec<Overlap>>> = BTreeMap::new();
    for file in arguments {
        for line in std::fs::read_to_string(&file)?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let pairs: Vec<(u8, u8, u64)> = serde_json::from_value(line["confusion"].clone())?;
            let overlap = ConfusionMatrix::from_pairs(classes, &pairs)?.overlap();
            let images = seen.entry(line["epsilon"].to_string()).or_default();
            images.entry(line["id"].to_string()).or_default().push(overlap);
        }
    }
    for (epsilon, images) in seen {
        let images: Vec<Vec<Overlap>> = images.into_values().collect();
        let sum = |chosen: Vec<usize>| {
            Overlap::sum(classes, images.iter().zip(chosen).map(|(of, index)| &of[index]))
        };
        let miou = sum(greedy_mean_iou(&images)).mean_iou();
        let accuracy = sum(images.iter().map(|of| lowest_accuracy(of)).collect()).pixel_accuracy();
        println!(
            "epsilon {epsilon}: mean IoU {miou:.4?}, pixel accuracy {accuracy:.4?} of {} images",
            images.len()
        );
    }
    Ok(())
}
