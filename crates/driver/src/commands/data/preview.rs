//! `robustseg data preview`: a contact sheet of samples, their labels and augmented crops.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use robustseg_datasets::{AugmentationConfig, AugmentationParameters, Crop, Dataset, Image, Sample, apply};
use robustseg_files::write_atomically;
use robustseg_models::NetworkSpec;

use super::place::Place;
use crate::draw::contact_sheet;
use crate::image_file::{is_made_by, marked_png, overlay};
use crate::inputs::check_file;

/// The command recorded in a contact sheet.
const COMMAND: &str = "data preview";

/// Augmented crops per sample.
const DRAWS: u64 = 2;

/// Arguments of `data preview`.
#[derive(Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    place: Place,
    /// The PNG to write.
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    /// The split of the samples.
    #[arg(long, default_value = "train")]
    split: String,
    /// Samples to show, evenly spaced over the split.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=100))]
    count: u64,
    /// Seed of the augmentation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Height and width of the augmented crops.
    #[arg(long, default_value_t = 472, value_parser = clap::value_parser!(u64).range(8..=8192))]
    crop: u64,
}

impl Preview {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let (manifest, root) = self.place.find()?;
        let inputs = self.place.inputs(&root);
        check_file(&self.out, "--out", &inputs, |bytes| is_made_by(bytes, COMMAND))?;
        let dataset = Dataset::open(&manifest, &root, &self.split)?;
        let palette = manifest.palette();
        let config = AugmentationConfig { crop: self.crop as usize, ..AugmentationConfig::default() };
        let fill = NetworkSpec::default().mean;
        let count = dataset.len().min(self.count as usize);
        let mut rows = Vec::new();
        let mut legend = vec!["rows, from the top:".to_owned()];
        for place in 0..count {
            let index = place * dataset.len() / count;
            let sample = dataset.load(index)?;
            let draws: Vec<AugmentationParameters> =
                (0..DRAWS).map(|epoch| config.draw(self.seed, epoch, index as u64)).collect();
            legend.push(format!(
                "  {}: {}x{}; {}",
                sample.id,
                sample.image.width,
                sample.image.height,
                draws.iter().map(described).collect::<Vec<_>>().join("; ")
            ));
            rows.push(pictures(&sample, &draws, fill, &palette));
        }
        let sheet = marked_png(&contact_sheet(&rows), COMMAND)?;
        write_atomically(&self.out, &sheet).with_context(|| format!("writing {}", self.out.display()))?;
        for line in legend {
            println!("{line}");
        }
        println!(
            "columns: image, labels over it; each augmented crop, its labels over it; white is not labelled"
        );
        println!("contact sheet: {}", self.out.display());
        Ok(())
    }
}

/// The row of a sample: the image, its labels as an overlay, and both for each augmented crop.
fn pictures(
    sample: &Sample,
    draws: &[AugmentationParameters],
    fill: [f32; 3],
    palette: &[[u8; 3]],
) -> Vec<Image> {
    let pair = |image: Image, labels: &[u8]| {
        let labelled = overlay(&image, labels, palette);
        [image, labelled]
    };
    let crops = draws.iter().flat_map(|parameters| {
        let crop = apply(sample, parameters, fill);
        pair(interleaved(&crop, parameters.crop), &crop.label)
    });
    pair(sample.image.clone(), &sample.label.data).into_iter().chain(crops).collect()
}

/// The image of a crop as bytes.
fn interleaved(crop: &Crop, size: usize) -> Image {
    let area = size * size;
    let byte = |value: f32| (value * 255.0).round() as u8;
    let pixel = |at: usize| [0, 1, 2].map(|channel| byte(crop.image[channel * area + at]));
    Image { width: size, height: size, data: (0..area).flat_map(pixel).collect() }
}

/// The drawn parameters in words.
fn described(parameters: &AugmentationParameters) -> String {
    let AugmentationParameters { flip, scale, rotation, sigma, .. } = parameters;
    let flip = if *flip { "flipped, " } else { "" };
    let blur = if *sigma > 0.0 { format!(", blur {sigma:.1}") } else { String::new() };
    format!("{flip}scale {scale:.2}, rotation {rotation:+.1}{blur}")
}
