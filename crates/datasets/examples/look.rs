//! Shows the content of a split and a training batch of it: `look MANIFEST [ROOT [SPLIT]]`.
//!
//! `cargo run -p robustseg-datasets --example look -- data-manifests/synthetic.yaml`

use std::path::PathBuf;

use robustseg_datasets::{AugmentationConfig, Dataset, Loader, LoaderOptions, Manifest, OnBadSample};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let manifest =
        Manifest::load(&PathBuf::from(arguments.next().ok_or("usage: look MANIFEST [ROOT [SPLIT]]")?))?;
    let root = PathBuf::from(arguments.next().unwrap_or_default());
    let dataset = Dataset::open(&manifest, &root, &arguments.next().unwrap_or_else(|| "train".into()))?;
    println!("{}: {} samples of {} classes", manifest.name, dataset.len(), manifest.num_classes());
    for index in 0..dataset.len().min(3) {
        let sample = dataset.load(index)?;
        let share = |class: u8| {
            let pixels: u32 = sample.label.data.iter().map(|label| u32::from(*label == class)).sum();
            100.0 * f64::from(pixels) / sample.label.data.len() as f64
        };
        let names = manifest.classes.iter().map(|class| class.name.as_str());
        let shares: Vec<String> =
            names.zip(0..).map(|(name, class)| format!("{name} {:.0} %", share(class))).collect();
        println!("{}: {} x {}, {}", sample.id, sample.image.width, sample.image.height, shares.join(", "));
    }
    let augmentation = AugmentationConfig { crop: 64.into(), ..AugmentationConfig::default() };
    let (fill, on_bad_sample) = ([0.5; 3], OnBadSample::Fail);
    let options = LoaderOptions { batch_size: 2, seed: 0, augmentation, fill, steps: 0..1, on_bad_sample };
    for batch in Loader::new(&dataset, options)? {
        let batch = batch?;
        println!("a batch of {:?}, crops of {} x {}", batch.ids, batch.width, batch.height);
    }
    Ok(())
}
