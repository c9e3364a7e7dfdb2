//! Images a second of the loader, as JSON: `throughput MANIFEST ROOT SPLIT CROP SAMPLES`.
//!
//! Reads, augments and batches `SAMPLES` training samples of a dataset on all threads of rayon
//! (`RAYON_NUM_THREADS`), after a batch that is not counted. `scripts/bench_data.sh` runs it beside other pipelines.

use std::path::Path;
use std::time::Instant;

use robustseg_datasets::{AugmentationConfig, Dataset, Loader, LoaderOptions, Manifest};

/// Samples in a batch.
const BATCH: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, root, split, crop, samples] = arguments.as_slice() else {
        return Err("usage: throughput MANIFEST ROOT SPLIT CROP SAMPLES".into());
    };
    let augmentation = AugmentationConfig { crop: crop.parse()?, ..AugmentationConfig::default() };
    let steps = samples.parse::<u64>()? / BATCH as u64;
    let dataset = Dataset::open(&Manifest::load(Path::new(manifest))?, Path::new(root), split)?;
    let options = LoaderOptions {
        batch_size: BATCH,
        seed: 0,
        augmentation,
        fill: [0.485, 0.456, 0.406],
        steps: 0..steps + 1,
    };
    let mut loader = Loader::new(&dataset, options)?;
    loader.next().transpose()?;
    let start = Instant::now();
    let (mut images, mut sum) = (0, 0.0);
    for batch in loader {
        let batch = batch?;
        images += batch.ids.len();
        // Looked at, as a trainer would, so that nothing is left undone.
        sum += batch.images.iter().step_by(4096).sum::<f32>();
    }
    let rate = images as f64 / start.elapsed().as_secs_f64();
    println!("{{\"images\": {images}, \"images_per_s\": {rate:.3}, \"checksum\": {sum:.3}}}");
    Ok(())
}
