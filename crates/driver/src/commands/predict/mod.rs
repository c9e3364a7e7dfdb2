//! `robustseg predict`: a network's predictions for images.

mod images;
mod probabilities;

use std::path::PathBuf;

use clap::Args;
use robustseg_datasets::{Manifest, image_size};
use robustseg_evaluation::{EvaluationConfig, MultiScale, Presented, Protocol, Target, Window};
use robustseg_models::{Checkpoint, NetworkConfig, NormStatistics};

use self::images::{Picture, find, require_own_files};
use self::probabilities::Format;
use crate::checkpoint::{self, require_classes};
use crate::device::DeviceChoice;
use crate::draw::{legend, overlay_with_legend};
use crate::exit::Usage;
use crate::image_file;
use crate::inputs::{Inputs, check_folder};
use crate::memory;
use crate::run_directory::RunDirectory;
use crate::{protocol, window};

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg predict --checkpoint x.safetensors --out predicted photos
  robustseg predict --checkpoint x.safetensors --out predicted a.jpg b.png --window sliding:512:256
  robustseg predict --checkpoint x.safetensors --out predicted photos --scales 0.75,1,1.25 --flip --probabilities npy";

/// Arguments of `predict`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Predict {
    /// The checkpoint of the network.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Folder for the results: for each image a label map NAME.png with a palette, an overlay
    /// `NAME_overlay.png`, and the overlay with a legend of what it shows, `NAME_overlay.svg`.
    /// legend.svg has the colours of all classes.
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
    /// Averages the probabilities at these factors of height and width, as in 0.5,1,1.5.
    #[arg(long, value_delimiter = ',', value_name = "FACTOR,...", conflicts_with_all = ["window", "protocol"])]
    scales: Vec<f64>,
    /// Averages the probabilities with those of the mirrored image.
    #[arg(long, conflicts_with_all = ["window", "protocol"])]
    flip: bool,
    /// Also writes the probabilities of all classes, f32 of classes x height x width, as
    /// NAME.safetensors or NAME.npy.
    #[arg(long, value_name = "FORMAT")]
    probabilities: Option<Format>,
    /// Prints the names of the written files as JSON.
    #[arg(long)]
    json: bool,
    /// The images, JPEG or PNG, of any size. A folder stands for all images in it and below it, and
    /// a name with * or ? for those that it fits.
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
        let protocol = self.protocol()?;
        if let Protocol::Sea(_) = protocol {
            let text =
                "--protocol sea leaves out the border, where a label map has classes too; take another one";
            return Err(Usage(text.into()).into());
        }
        let folders = Inputs::of(self.images.iter().filter(|path| path.is_dir()));
        if folders.holds(&self.out) {
            let text =
                format!("--out {} lies in a folder of images, which this command reads", self.out.display());
            return Err(Usage(text).into());
        }
        let pictures = find(&self.images)?;
        require_own_files(&pictures, |name| self.files(name))?;
        let read = pictures.iter().map(|picture| &picture.path);
        let inputs = Inputs::of(read.chain(&self.images).chain([&self.checkpoint]).chain(&self.manifest));
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
            self.require_memory(network.config(), &pictures, &protocol)?;
        }
        let target = Target::new(&network, NormStatistics::Running);
        let model = Presented::new(&target, &protocol).with_window(self.window);
        let model = model.padded_with(network.config().mean);
        let directory = RunDirectory::for_results(&self.out, "predict", &inputs)?;
        directory.write("legend.svg", legend(&classes).as_bytes())?;
        let mut written = Vec::new();
        for Picture { path, name } in &pictures {
            let image = image_file::read(path)?;
            let (height, width) = (image.height, image.width);
            let pixels = image_file::tensor(&image, &device)?;
            let labels: Vec<u8> = model.predict(&pixels)?.flatten_all()?.to_vec1()?;
            let picture = image_file::rgb_png(&image_file::overlay(&image, &labels, &palette))?;
            let mut contents = vec![
                image_file::label_png(&labels, width, height, &palette)?,
                overlay_with_legend(&picture, [width, height], &labels, &classes).into_bytes(),
                picture,
            ];
            if let Some(format) = self.probabilities {
                contents.push(format.file(&model.probabilities(&pixels)?)?);
            }
            let files = self.files(name);
            for (file, content) in files.iter().zip(&contents) {
                directory.write(file, content)?;
            }
            let at = |place: usize| files.get(place).map(|name| directory.file(name).display().to_string());
            let mut entry = serde_json::json!({
                "image": path.display().to_string(), "labels": at(0), "overlay": at(2), "overlay_with_legend": at(1),
            });
            if let Some(file) = at(3) {
                entry["probabilities"] = file.into();
            }
            written.push(entry);
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

    /// The protocol of `--protocol`, or that of `--scales` and `--flip`.
    fn protocol(&self) -> Result<Protocol, Usage> {
        if self.scales.is_empty() && !self.flip {
            return Ok(self.protocol.clone());
        }
        let scales = if self.scales.is_empty() { vec![1.0] } else { self.scales.clone() };
        let protocol = Protocol::MultiScale(MultiScale { scales, flip: self.flip });
        protocol.validate().map_err(|error| Usage(format!("--scales: {error}")))?;
        Ok(protocol)
    }

    /// The files of the image `name`: label map, overlay with a legend, overlay, and probabilities
    /// if they are wanted.
    fn files(&self, name: &str) -> Vec<String> {
        let mut files =
            vec![format!("{name}.png"), format!("{name}_overlay.svg"), format!("{name}_overlay.png")];
        files.extend(self.probabilities.map(|format| format!("{name}.{}", format.ending())));
        files
    }

    /// Requires at least the memory that the largest image needs.
    fn require_memory(
        &self,
        model: &NetworkConfig,
        pictures: &[Picture],
        protocol: &Protocol,
    ) -> anyhow::Result<()> {
        let config = EvaluationConfig {
            window: self.window,
            protocol: protocol.clone(),
            ..EvaluationConfig::default()
        };
        let need = |Picture { path, .. }: &Picture| -> anyhow::Result<(u64, PathBuf, usize, usize)> {
            let (width, height) = image_size(path)?;
            let views = config.views(height, width);
            let bytes =
                memory::of_prediction(&model.outline()?, model.num_classes, &views, [1, height, width]);
            // Probabilities and their file.
            let values = (width * height).saturating_mul(8 * model.num_classes) as u64;
            let more = if self.probabilities.is_some() { values } else { 0 };
            Ok((bytes.saturating_add(more), path.clone(), width, height))
        };
        let needs = pictures.iter().map(need).collect::<anyhow::Result<Vec<_>>>()?;
        let Some((bytes, path, width, height)) = needs.into_iter().max() else { return Ok(()) };
        let what = format!("predicting {} ({width}x{height} pixels)", path.display());
        let smaller = match protocol {
            Protocol::WholeImage => "take a smaller --window, such as sliding:512:256",
            _ => "lower the sizes of --protocol",
        };
        let advice = format!("raise the limit, make the image smaller, or {smaller}");
        Ok(memory::require(bytes, &what, &advice)?)
    }
}
