//! `robustseg predict`: a network's predictions for images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use robustseg_datasets::{Manifest, image_size};
use robustseg_evaluation::{EvaluationConfig, Presented, Protocol, Target, Window};
use robustseg_models::{Checkpoint, NetworkConfig, NormStatistics};

use crate::checkpoint::{self, require_classes};
use crate::device::DeviceChoice;
use crate::draw::legend;
use crate::exit::Usage;
use crate::image_file;
use crate::inputs::{Inputs, check_folder};
use crate::memory;
use crate::run_directory::RunDirectory;
use crate::{protocol, window};

/// Arguments of `predict`.
#[derive(Args)]
pub(crate) struct Predict {
    /// The checkpoint of the network.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Folder for the results: for each image a label map NAME.png with a palette and an overlay
    /// `NAME_overlay.png`, and legend.svg with the colours of the classes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Takes the palette from this data manifest instead of the checkpoint's colours. A checkpoint
    /// without colours uses PASCAL VOC's.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Treats the manifest's classes as those of the checkpoint, whatever their names.
    #[arg(long, requires = "manifest")]
    ignore_classes: bool,
    /// Device to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// The network's view of an image: `whole` or `sliding:SIZE:STRIDE` (square windows whose
    /// logits are averaged where they overlap). A huge image needs windows.
    #[arg(long, default_value = "whole", value_parser = window::parse)]
    window: Window,
    /// The protocol of the prediction, written as in a spec's evaluation.protocol: `whole_image`,
    /// `multi_scale`, `semseg`, or with settings, such as `{semseg: {long_side: 2048, crop: 713}}`.
    #[arg(long, default_value = "whole_image", value_parser = protocol::parse, conflicts_with = "window")]
    protocol: Protocol,
    /// Prints the names of the written files as JSON.
    #[arg(long)]
    json: bool,
    /// The images, JPEG or PNG, of any size.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

impl Predict {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        if let Window::CenterCrop { .. } = self.window {
            let text = "--window center_crop leaves out the border, where a label map has classes too; take \
                        sliding:SIZE:STRIDE";
            return Err(Usage(text.into()).into());
        }
        if let Protocol::Sea(_) = self.protocol {
            let text =
                "--protocol sea leaves out the border, where a label map has classes too; take another one";
            return Err(Usage(text.into()).into());
        }
        let names = self.names()?;
        let inputs = Inputs::of(self.images.iter().chain([&self.checkpoint]).chain(&self.manifest));
        // Checked before the weights are read, and again once the folder is locked.
        check_folder(&self.out, "predict", "", &inputs)?;
        let device = self.device.open()?;
        let Checkpoint { network, origin } = Checkpoint::load(&self.checkpoint, &device)?;
        let num_classes = network.config().num_classes;
        let manifest = self.manifest.as_deref().map(Manifest::load).transpose()?;
        if let Some(manifest) = &manifest {
            require_classes(&self.checkpoint, &origin, num_classes, manifest, self.ignore_classes)?;
        }
        let classes = checkpoint::drawn_classes(manifest.as_ref(), &origin, num_classes);
        let palette = checkpoint::palette(&classes);
        if device.is_cpu() {
            self.require_memory(network.config())?;
        }
        let target = Target::new(&network, NormStatistics::Running);
        let model = Presented::new(&target, &self.protocol).with_window(self.window);
        let model = model.padded_with(network.config().mean);
        let directory = RunDirectory::for_results(&self.out, "predict", &inputs)?;
        directory.write("legend.svg", legend(&classes).as_bytes())?;
        let mut written = Vec::new();
        for (path, name) in self.images.iter().zip(names) {
            let image = image_file::read(path)?;
            let (height, width) = (image.height, image.width);
            let labels = model.predict(&image_file::tensor(&image, &device)?)?.flatten_all()?.to_vec1()?;
            let [map, overlay] = files(&name);
            directory.write(&map, &image_file::label_png(&labels, width, height, &palette)?)?;
            let picture = image_file::overlay(&image, &labels, &palette);
            directory.write(&overlay, &image_file::rgb_png(&picture)?)?;
            let file = |name: &str| directory.file(name).display().to_string();
            written.push(serde_json::json!({
                "image": path.display().to_string(), "labels": file(&map), "overlay": file(&overlay),
            }));
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&written)?);
        } else {
            for entry in &written {
                println!("{}", entry["labels"].as_str().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Requires at least the memory that the largest image needs.
    fn require_memory(&self, model: &NetworkConfig) -> anyhow::Result<()> {
        let (window, protocol) = (self.window, self.protocol.clone());
        let config = EvaluationConfig { window, protocol, ..EvaluationConfig::default() };
        let need = |path: &PathBuf| -> anyhow::Result<(u64, PathBuf, usize, usize)> {
            let (width, height) = image_size(path)?;
            let views = config.views(height, width);
            let bytes = memory::of_prediction(model, &views, [1, height, width])?;
            Ok((bytes, path.clone(), width, height))
        };
        let needs = self.images.iter().map(need).collect::<anyhow::Result<Vec<_>>>()?;
        let Some((bytes, path, width, height)) = needs.into_iter().max() else { return Ok(()) };
        let what = format!("predicting {} ({width}x{height} pixels)", path.display());
        let smaller = match self.protocol {
            Protocol::WholeImage => "take a smaller --window, such as sliding:512:256",
            _ => "lower the sizes of --protocol",
        };
        let advice = format!("raise the limit, make the image smaller, or {smaller}");
        Ok(memory::require(bytes, &what, &advice)?)
    }

    /// The names of the results. No two images share a file, even where file names ignore case.
    fn names(&self) -> Result<Vec<String>, Usage> {
        let mut owners: HashMap<String, &Path> = HashMap::new();
        let mut names = Vec::new();
        for path in &self.images {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let stem = stem.ok_or_else(|| Usage(format!("{}: is no file", path.display())))?;
            for file in files(&stem) {
                if let Some(other) = owners.insert(file.to_lowercase(), path) {
                    let (a, b) = (other.display(), path.display());
                    return Err(Usage(format!(
                        "{a} and {b} would both be written to {file}; give each its own command and --out"
                    )));
                }
            }
            names.push(stem);
        }
        Ok(names)
    }
}

/// The files of the image `name`: label map and overlay.
fn files(name: &str) -> [String; 2] {
    [format!("{name}.png"), format!("{name}_overlay.png")]
}
