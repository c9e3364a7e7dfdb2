//! Measures the loader in images per second, as JSON:
//! `throughput MANIFEST ROOT SPLIT CROP SAMPLES [CACHE]`.
//!
//! Reads, augments and batches `SAMPLES` training samples of a dataset on all threads of rayon
//! (`RAYON_NUM_THREADS`), after one batch that does not count. With `CACHE`, samples come from
//! packs in that folder, which are made if necessary. `scripts/bench_data.sh` compares it with
//! other pipelines.

use std::path::Path;
use std::time::Instant;

use robustseg_datasets::{
    AugmentationConfig, Dataset, Loader, LoaderOptions, Manifest, OnBadSample, prepare,
};

/// Samples per batch.
const BATCH: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, root, split, crop, samples, cache @ ..] = arguments.as_slice() else {
        return Err("usage: throughput MANIFEST ROOT SPLIT CROP SAMPLES [CACHE]".into());
    };
    let augmentation =
        AugmentationConfig { crop: crop.parse::<usize>()?.into(), ..AugmentationConfig::default() };
    let steps = samples.parse::<u64>()? / BATCH as u64;
    let (manifest, root) = (Manifest::load(Path::new(manifest))?, Path::new(root));
    let mut dataset = Dataset::open(&manifest, root, split)?;
    if let [cache] = cache {
        prepare(&manifest, root, split, Path::new(cache), |_, _| ())?;
        dataset = dataset.with_cache(Path::new(cache), &manifest)?;
    }
    let options = LoaderOptions {
        batch_size: BATCH,
        seed: 0,
        augmentation,
        fill: [0.485, 0.456, 0.406],
        steps: 0..steps + 1,
        on_bad_sample: OnBadSample::Fail,
    };
    let mut loader = Loader::new(&dataset, options)?;
    loader.next().transpose()?;
    let start = Instant::now();
    let (mut images, mut sum) = (0, 0.0);
    for batch in loader {
        let batch = batch?;
        images += batch.ids.len();
        // Read like a trainer would, so that no work is skipped.
        sum += batch.images.iter().step_by(4096).sum::<f32>();
    }
    let rate = images as f64 / start.elapsed().as_secs_f64();
    println!("{{\"images\": {images}, \"images_per_s\": {rate:.3}, \"checksum\": {sum:.3}}}");
    Ok(())
}
