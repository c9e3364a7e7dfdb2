//! The worst case over every attack in `images.jsonl` files: `worst_case CLASSES FILE...`, each from a run directory. A ball
//! holds all smaller ones, so an epsilon's candidates are the examples of all epsilons up to it, and the clean image.
//!
//! `cargo run -p robustseg-metrics --example worst_case -- 11 runs/camvid_bim/images.jsonl`

use std::collections::BTreeMap;

use robustseg_metrics::{ConfusionMatrix, Overlap, greedy_mean_iou, greedy_mean_iou_from, lowest_accuracy};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let classes: usize = arguments.next().ok_or("usage: worst_case CLASSES FILE...")?.parse()?;
    // By image: what every attack made of it, and its epsilon.
    let mut seen: BTreeMap<String, Vec<(f64, Overlap)>> = BTreeMap::new();
    for file in arguments {
        for line in std::fs::read_to_string(&file)?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let pairs: Vec<(u8, u8, u64)> = serde_json::from_value(line["confusion"].clone())?;
            let overlap = ConfusionMatrix::from_pairs(classes, &pairs)?.overlap();
            let epsilon = line["epsilon"].as_f64().ok_or("a line without an epsilon")?;
            seen.entry(line["id"].to_string()).or_default().push((epsilon, overlap));
        }
    }
    for of in seen.values_mut() {
        of.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let mut epsilons: Vec<f64> = seen.values().flatten().map(|(epsilon, _)| *epsilon).collect();
    epsilons.sort_by(f64::total_cmp);
    epsilons.dedup();
    let mut chosen: Option<Vec<usize>> = None;
    for epsilon in epsilons {
        let within = |of: &Vec<(f64, Overlap)>| -> Vec<Overlap> {
            of.iter().filter(|(other, _)| *other <= epsilon).map(|(_, overlap)| overlap.clone()).collect()
        };
        let images: Vec<Vec<Overlap>> = seen.values().map(within).collect();
        let sum = |chosen: &[usize]| {
            Overlap::sum(classes, images.iter().zip(chosen).map(|(of, &index)| &of[index]))
        };
        let starts = chosen.into_iter().chain([greedy_mean_iou(&images)]);
        let worst = greedy_mean_iou_from(&images, starts);
        let lowest: Vec<usize> = images.iter().map(|of| lowest_accuracy(of)).collect();
        let (miou, accuracy) = (sum(&worst).mean_iou(), sum(&lowest).pixel_accuracy());
        println!(
            "epsilon {epsilon}: mean IoU {miou:.4?}, pixel accuracy {accuracy:.4?} of {} images",
            images.len()
        );
        chosen = Some(worst);
    }
    Ok(())
}
