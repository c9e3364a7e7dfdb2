//! The worst case over every attack in `images.jsonl` files, one per run directory. The candidates
//! at an epsilon are the clean image and the examples of all epsilons up to it.
//!
//! `cargo run -p robustseg-metrics --example worst_case -- 11 runs/camvid_bim/images.jsonl`

use std::collections::BTreeMap;

use robustseg_metrics::{ConfusionMatrix, Overlap, greedy_mean_iou, greedy_mean_iou_from};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let classes: usize = arguments.next().ok_or("usage: worst_case CLASSES FILE...")?.parse()?;
    // The overlaps under every attack, by epsilon and then by image. The bits of an epsilon sort
    // like its value.
    let mut seen: BTreeMap<u64, BTreeMap<String, Vec<Overlap>>> = BTreeMap::new();
    for file in arguments {
        for line in std::fs::read_to_string(&file)?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let pairs: Vec<(u8, u8, u64)> = serde_json::from_value(line["confusion"].clone())?;
            let images = seen.entry(line["epsilon"].as_f64().ok_or("no epsilon")?.to_bits()).or_default();
            let overlap = ConfusionMatrix::from_pairs(classes, &pairs)?.overlap();
            images.entry(line["id"].to_string()).or_default().push(overlap);
        }
    }
    let (mut candidates, mut chosen) = (BTreeMap::<String, Vec<Overlap>>::new(), None);
    for (epsilon, images) in seen {
        for (id, of) in images {
            candidates.entry(id).or_default().extend(of);
        }
        let images: Vec<Vec<Overlap>> = candidates.values().cloned().collect();
        let worst = greedy_mean_iou_from(&images, chosen.into_iter().chain([greedy_mean_iou(&images)]));
        let taken = images.iter().zip(&worst).map(|(of, &index)| &of[index]);
        let (epsilon, miou) = (f64::from_bits(epsilon), Overlap::sum(classes, taken).mean_iou());
        println!("epsilon {epsilon}: mean IoU {miou:.4?} of {} images", images.len());
        chosen = Some(worst);
    }
    Ok(())
}
