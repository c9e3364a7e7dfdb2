//! `robustseg data preview`: a contact sheet of samples, their labels and augmented crops.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use robustseg_datasets::{
    AugmentationConfig, AugmentationParameters, Crop, CropSize, Dataset, Image, Manifest, Sample, apply,
};
use robustseg_files::write_atomically;
use robustseg_models::NetworkSpec;

use super::place::Place;
use crate::data::Data;
use crate::draw::{contact_sheet, swatches};
use crate::exit::Usage;
use crate::image_file::{is_made_by, marked_png, overlay};
use crate::inputs::{Inputs, check_file};
use crate::spec::{Layered, Spec};

/// The command recorded in a contact sheet.
const COMMAND: &str = "data preview";

/// Augmented crops per sample.
const DRAWS: u64 = 2;

/// Arguments of `data preview`.
#[derive(Args)]
pub(crate) struct Preview {
    /// The data's manifest, or a spec, of which the sheet shows what its training sees.
    #[arg(value_name = "MANIFEST or SPEC")]
    file: PathBuf,
    /// Replaces a value of the spec, for example --set training.augmentation.crop=128; may be repeated.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// The data's folder [default: the spec's, or the manifest's under `$ROBUSTSEG_DATA`].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The PNG to write.
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    /// The split of the samples [default: the spec's split to train on, or train].
    #[arg(long)]
    split: Option<String>,
    /// Samples to show, evenly spaced over the split.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=100))]
    count: u64,
    /// Seed of the augmentation [default: the spec's, or 0].
    #[arg(long)]
    seed: Option<u64>,
    /// Height and width of the augmented crops [default: the spec's, or 472].
    #[arg(long, value_parser = clap::value_parser!(u64).range(8..=8192))]
    crop: Option<u64>,
}

/// What is shown.
struct Shown {
    manifest: Manifest,
    root: PathBuf,
    inputs: Inputs,
    split: String,
    seed: u64,
    augmentation: AugmentationConfig,
    fill: [f32; 3],
}

impl Preview {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let Shown { manifest, root, inputs, split, seed, augmentation, fill } = self.shown()?;
        check_file(&self.out, "--out", &inputs, |bytes| is_made_by(bytes, COMMAND))?;
        let dataset = Dataset::open(&manifest, &root, &split)?;
        let palette = manifest.palette();
        let count = dataset.len().min(self.count as usize);
        let mut rows = Vec::new();
        let mut legend = vec!["rows, from the top:".to_owned()];
        for place in 0..count {
            let index = place * dataset.len() / count;
            let sample = dataset.load(index)?;
            let draws: Vec<(AugmentationParameters, Crop)> = (0..DRAWS)
                .map(|epoch| {
                    let load = |parameters: &_| Ok::<_, Infallible>(apply(&sample, parameters, fill));
                    let Ok(drawn) = augmentation.crop_with([seed, epoch, index as u64], load);
                    drawn
                })
                .collect();
            legend.push(format!(
                "  {}: {}x{}; {}",
                sample.id,
                sample.image.width,
                sample.image.height,
                draws.iter().map(|(parameters, _)| described(parameters)).collect::<Vec<_>>().join("; ")
            ));
            rows.push(pictures(&sample, &draws, &palette));
        }
        let mut sheet = contact_sheet(&rows);
        let names = manifest
            .classes
            .iter()
            .zip(0..)
            .map(|(class, index)| (class.colour, format!("{index} {}", class.name)));
        let entries: Vec<_> = names.chain([([255; 3], "not labelled".to_owned())]).collect();
        let legend_below = swatches(&entries, sheet.width);
        below(&mut sheet, &legend_below);
        let sheet = marked_png(&sheet, COMMAND)?;
        write_atomically(&self.out, &sheet).with_context(|| format!("writing {}", self.out.display()))?;
        for line in legend {
            println!("{line}");
        }
        println!(
            "columns: image, labels over it; the crops of the first epochs, each with its labels over it"
        );
        println!("contact sheet: {}", self.out.display());
        Ok(())
    }

    /// What the file describes: a dataset, or a training.
    fn shown(&self) -> anyhow::Result<Shown> {
        let mut shown = if is_manifest(&self.file) { self.of_manifest()? } else { self.of_spec()? };
        shown.split = self.split.clone().unwrap_or(shown.split);
        shown.seed = self.seed.unwrap_or(shown.seed);
        if let Some(crop) = self.crop {
            shown.augmentation.crop = (crop as usize).into();
        }
        Ok(shown)
    }

    fn of_manifest(&self) -> anyhow::Result<Shown> {
        if !self.overrides.is_empty() {
            let text = format!("--set changes a spec, and {} is a manifest", self.file.display());
            return Err(Usage(text).into());
        }
        let place = Place { manifest: self.file.clone(), root: self.root.clone() };
        let (manifest, root) = place.find()?;
        Ok(Shown {
            manifest,
            inputs: place.inputs(&root),
            root,
            split: "train".into(),
            seed: 0,
            augmentation: AugmentationConfig::default(),
            fill: NetworkSpec::default().mean,
        })
    }

    fn of_spec(&self) -> anyhow::Result<Shown> {
        let mut layered = Layered::read(&self.file, &self.overrides)?;
        let spec = &mut layered.spec;
        if let Some(root) = &self.root {
            spec.data.root = Some(root.clone());
        }
        let Data { manifest, root, .. } = Data::find(spec)?;
        let files = layered.files().chain([layered.spec.data.manifest.as_path(), &root]);
        let inputs = Inputs::of(files);
        let Spec { seed, data, model, training, .. } = layered.spec;
        let (split, augmentation, fill) = (data.train_split, training.augmentation, model.mean);
        Ok(Shown { manifest, root, inputs, split, seed, augmentation, fill })
    }
}

/// Whether the file at `path` is a manifest and no spec: it has a layout.
fn is_manifest(path: &Path) -> bool {
    let text = robustseg_files::read_text(path, 1 << 20).unwrap_or_default();
    let keys = robustseg_files::yaml::parse::<serde_json::Map<String, serde_json::Value>>(&text);
    keys.map_or_else(
        |_| text.lines().any(|line| line.starts_with("layout:")),
        |keys| keys.contains_key("layout"),
    )
}

/// Puts `picture` under `sheet`, on white.
fn below(sheet: &mut Image, picture: &Image) {
    let wide = sheet.width.max(picture.width);
    let mut data = Vec::with_capacity(3 * wide * (sheet.height + picture.height));
    for image in [&*sheet, picture] {
        for row in image.data.chunks_exact(3 * image.width) {
            data.extend_from_slice(row);
            data.resize(data.len() + 3 * (wide - image.width), 255);
        }
    }
    *sheet = Image { width: wide, height: sheet.height + picture.height, data };
}

/// The row of a sample: the image, its labels as an overlay, and both for each augmented crop.
fn pictures(sample: &Sample, draws: &[(AugmentationParameters, Crop)], palette: &[[u8; 3]]) -> Vec<Image> {
    let pair = |image: Image, labels: &[u8]| {
        let labelled = overlay(&image, labels, palette);
        [image, labelled]
    };
    let crops =
        draws.iter().flat_map(|(parameters, crop)| pair(interleaved(crop, parameters.crop), &crop.label));
    pair(sample.image.clone(), &sample.label.data).into_iter().chain(crops).collect()
}

/// The image of a crop as bytes.
fn interleaved(crop: &Crop, size: CropSize) -> Image {
    let area = size.pixels();
    let byte = |value: f32| (value * 255.0).round() as u8;
    let pixel = |at: usize| [0, 1, 2].map(|channel| byte(crop.image[channel * area + at]));
    Image { width: size.width, height: size.height, data: (0..area).flat_map(pixel).collect() }
}

/// The drawn parameters in words.
fn described(parameters: &AugmentationParameters) -> String {
    let AugmentationParameters { flip, scale, rotation, sigma, .. } = parameters;
    let flip = if *flip { "flipped, " } else { "" };
    let blur = if *sigma > 0.0 { format!(", blur {sigma:.1}") } else { String::new() };
    format!("{flip}scale {scale:.2}, rotation {rotation:+.1}{blur}")
}
