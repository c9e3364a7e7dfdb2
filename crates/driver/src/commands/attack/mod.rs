//! `robustseg attack`: adversarial examples for given images.

mod case;
mod observe;
mod options;
pub(crate) mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use clap::{ArgGroup, Args};
use robustseg_attacks::{Adversarial, Case, Cost, Counted, Model, check_gradient};
use robustseg_datasets::{Image, Manifest};
use robustseg_evaluation::{AttackedPart, EvaluationConfig, Presented, Protocol, Semseg, Target, Window};
use robustseg_models::{Checkpoint, CheckpointClass, Network, NormStatistics};
use robustseg_ops::upsample_bilinear;
use robustseg_random::stream;
use robustseg_words::counted;
use tracing::warn;

use super::watched::Watched;
use crate::checkpoint;
use crate::device::DeviceChoice;
use crate::draw::legend;
use crate::exit::{BadData, Usage};
use crate::image_file;
use crate::inputs::{Inputs, check_folder};
use crate::memory;
use crate::protocol;
use crate::run_directory::RunDirectory;
use crate::window;
use observe::{Observations, observe};
use options::AttackOptions;
use report::{ImageReport, Report, RoundedReport};

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg attack --checkpoint x.safetensors --method bim --epsilon 8/255 --image a.png --label a_label.png --out attacked";

/// Arguments of `attack`.
#[derive(Args)]
#[command(group(ArgGroup::new("case").required(true).args(["image", "input"])))]
#[command(after_help = EXAMPLES)]
pub(crate) struct Attack {
    /// The checkpoint of the network to attack.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// A checkpoint to take the gradients from, instead of --checkpoint. The examples are crafted on
    /// it and judged on --checkpoint.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    #[command(flatten)]
    options: AttackOptions,
    /// Seed of random attacks.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// An image to attack, JPEG or PNG.
    #[arg(long, requires = "label")]
    image: Option<PathBuf>,
    /// The image's label map: a PNG of class indices (255 = not labelled), or a label file as
    /// described by --manifest.
    #[arg(long, requires = "image")]
    label: Option<PathBuf>,
    /// A safetensors file with `image` (f32 N,3,H,W in `[0, 1]`) and `label` (u8 N,H,W).
    #[arg(long, value_name = "CASE.safetensors")]
    input: Option<PathBuf>,
    /// The data manifest that defines the values or colours of --label.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Treats the manifest's classes as those of the checkpoint, whatever their names.
    #[arg(long, requires = "manifest")]
    ignore_classes: bool,
    /// The network's view of an image, as in an evaluation: `whole`, `sliding:SIZE:STRIDE` (square
    /// windows whose logits are averaged where they overlap) or `center_crop:SIZE` (the square in
    /// the middle, to which image and label are cut).
    #[arg(long, default_value = "whole", value_parser = window::parse)]
    window: Window,
    /// The protocol under which the network is attacked, written as in a spec's
    /// evaluation.protocol: `whole_image`, `multi_scale`, `semseg`, `sea`, or with settings, such as
    /// `{sea: {size: 512}}`. Its prepared image is perturbed.
    #[arg(long, default_value = "whole_image", value_parser = protocol::parse, conflicts_with = "window")]
    protocol: Protocol,
    /// Folder for adversarial.safetensors and attack.json, and with --image for pictures too.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also writes the full-size logits before and after into adversarial.safetensors. Always on
    /// with --input.
    #[arg(long)]
    logits: bool,
    /// Device to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Prints attack.json instead of a table.
    #[arg(long)]
    json: bool,
}

impl Attack {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let config = self.options.config()?;
        if let Protocol::Semseg(Semseg { attack: AttackedPart::Crops, .. }) = self.protocol {
            let text = "--protocol semseg: with `attack: crops` an image has several examples; take `attack: protocol`";
            return Err(Usage(text.into()).into());
        }
        let given = [&self.image, &self.label, &self.input, &self.manifest, &self.source];
        let inputs = Inputs::of(given.into_iter().flatten().chain([&self.checkpoint]));
        // Checked before the attack, and again once the folder is locked.
        check_folder(&self.out, "attack", "", &inputs)?;
        let device = self.device.open()?;
        let Checkpoint { network, origin } = Checkpoint::load(&self.checkpoint, &device)?;
        let manifest = self.manifest.as_deref().map(Manifest::load).transpose()?;
        let source = self.source.as_deref().map(|path| self.crafting(path, &network, &device)).transpose()?;
        let attacked = source.as_ref().unwrap_or(&network);
        let (image, label) = self.case(&network, &origin, manifest.as_ref(), &device)?;
        if device.is_cpu() {
            let (count, height, width) = label.dims3()?;
            let (protocol, window) = (self.protocol.clone(), self.window);
            let shown = EvaluationConfig { protocol, window, ..EvaluationConfig::default() };
            let views = shown.attacked_views(height, width);
            let bytes = memory::of_attack(&attacked.config().outline()?, &views, count);
            let images = counted(count, "image");
            let what = format!("attacking {images} of {width}x{height} pixels at once");
            let advice =
                "raise the limit, give fewer or smaller images, or take a --window, such as center_crop:512";
            memory::require(bytes, &what, advice)?;
        }
        let directory = RunDirectory::for_results(&self.out, "attack", &inputs)?;

        let [target, crafting] =
            [&network, attacked].map(|network| Target::new(network, NormStatistics::Running));
        let [target, crafting] = [(&target, &network), (&crafting, attacked)].map(|(target, network)| {
            let mean = network.config().mean;
            Presented::new(target, &self.protocol).with_window(self.window).padded_with(mean)
        });
        // The window has cut the image already.
        let (image, label) = match self.protocol {
            Protocol::WholeImage => (image, label),
            _ => target.prepare(&image, &label)?,
        };
        let classes = network.config().num_classes;
        if let Some(complaint) =
            check_gradient(&crafting, &image, &label)?.and_then(|check| check.complaint())
        {
            warn!("{complaint}");
        }
        let mut random = stream(self.seed, "attack", [0; 3]);
        let watched = Watched::new(&crafting, config.attack().backward_passes(1));
        let model = Counted::new(&watched);
        let adversarial = config.perturb(&Case::new(&model, &image, &label)?, &mut random)?;
        let passes = model.take();
        let before = observe(&target, classes, &image, &label)?;
        let after = observe(&target, classes, &adversarial.image, &label)?;

        let mut tensors =
            vec![("adversarial", adversarial.image.clone()), ("epsilon", adversarial.epsilon.clone())];
        if self.logits || self.input.is_some() {
            tensors.push(("logits_clean", full_size(&target, &image)?));
            tensors.push(("logits_adversarial", full_size(&target, &adversarial.image)?));
        }
        write_tensors(&directory, tensors)?;
        let adversarial_png = if self.image.is_some() {
            let drawn = checkpoint::drawn_classes(manifest.as_ref(), &origin, classes);
            let picture = write_pictures(&directory, &adversarial.image, [&before, &after], &drawn)?;
            let rounded = image_file::tensor(&picture, &device)?;
            let observed = observe(&target, classes, &rounded, &label)?;
            Some(rounding(&image, &adversarial, &rounded, observed)?)
        } else {
            None
        };
        let report = self.report(config.name(), &image, &adversarial, passes, before, after)?;
        let report = Report { adversarial_png, ..report };
        directory.write_json("attack.json", &report)?;
        directory.remove_others()?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            report.print();
        }
        Ok(())
    }

    /// The network in the checkpoint at `path`, on which to craft examples for `network`.
    fn crafting(&self, path: &Path, network: &Network, device: &Device) -> anyhow::Result<Network> {
        let crafting = Network::load(path, device)?;
        let [own, needed] = [&crafting, network].map(|network| network.config().num_classes);
        if own != needed {
            let (path, checkpoint) = (path.display(), self.checkpoint.display());
            return Err(BadData(format!(
                "checkpoint {path}: has {own} classes, but {checkpoint} has {needed}; take one of the same classes"
            ))
            .into());
        }
        Ok(crafting)
    }

    fn report(
        &self,
        attack: &str,
        image: &Tensor,
        adversarial: &Adversarial,
        passes: Cost,
        before: Observations,
        after: Observations,
    ) -> anyhow::Result<Report> {
        let difference = largest_difference(&adversarial.image, image)?;
        let epsilons = adversarial.epsilon.to_vec1::<f32>()?;
        let measures = before.measures.into_iter().zip(after.measures);
        let images = measures.zip(epsilons.into_iter().zip(difference));
        let images = images.map(|((before, after), (epsilon, largest_perturbation))| ImageReport {
            epsilon,
            largest_perturbation,
            before,
            after,
        });
        Ok(Report {
            method: attack.to_owned(),
            source: self.source.as_ref().map(|source| source.display().to_string()),
            window: self.window,
            protocol: (!self.protocol.is_whole_image()).then(|| self.protocol.clone()),
            seed: self.seed,
            passes,
            images: images.collect(),
            adversarial_png: None,
        })
    }
}

/// The largest difference in each of the images.
fn largest_difference(a: &Tensor, b: &Tensor) -> candle_core::Result<Vec<f32>> {
    (a - b)?.abs()?.flatten_from(1)?.max(1)?.to_vec1()
}

/// The distance of the `rounded` example of one `image` from the exact one, and its observation.
fn rounding(
    image: &Tensor,
    adversarial: &Adversarial,
    rounded: &Tensor,
    mut observed: Observations,
) -> anyhow::Result<RoundedReport> {
    let largest_rounding = largest_difference(rounded, &adversarial.image)?[0];
    let epsilon = adversarial.epsilon.to_vec1::<f32>()?[0];
    Ok(RoundedReport {
        largest_rounding,
        largest_rounding_in_epsilons: (epsilon > 0.0).then_some(largest_rounding / epsilon),
        largest_perturbation: largest_difference(rounded, image)?[0],
        after: observed.measures.remove(0),
    })
}

/// Writes the attacked image rounded to 8 bits, and the predictions before and after. Returns the
/// rounded image.
fn write_pictures(
    directory: &RunDirectory,
    image: &Tensor,
    observed: [&Observations; 2],
    classes: &[CheckpointClass],
) -> anyhow::Result<Image> {
    let picture = image_file::rounded(image)?;
    directory.write("adversarial.png", &image_file::rgb_png(&picture)?)?;
    directory.write("legend.svg", legend(classes).as_bytes())?;
    let palette = checkpoint::palette(classes);
    for (name, one) in ["prediction_clean.png", "prediction_adversarial.png"].into_iter().zip(observed) {
        let bytes = image_file::label_png(&one.predictions[0], picture.width, picture.height, &palette)?;
        directory.write(name, &bytes)?;
    }
    Ok(picture)
}

/// Logits (N, K, H, W) in the size of `image`.
fn full_size(model: &dyn Model, image: &Tensor) -> candle_core::Result<Tensor> {
    let (_, _, height, width) = image.dims4()?;
    let logits = upsample_bilinear(&model.logits(image)?, height, width, model.alignment())?;
    logits.permute((0, 3, 1, 2))
}

fn write_tensors(directory: &RunDirectory, tensors: Vec<(&'static str, Tensor)>) -> anyhow::Result<()> {
    let contiguous = |(name, tensor): (&'static str, Tensor)| Ok((name, tensor.contiguous()?));
    let tensors = tensors.into_iter().map(contiguous).collect::<candle_core::Result<HashMap<_, _>>>()?;
    let bytes = safetensors::serialize(&tensors, None)?;
    directory.write("adversarial.safetensors", &bytes)
}
