//! `robustseg attack`: adversarial examples for given images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use robustseg_attacks::{
    Adversarial, AttackConfig, Budget, Counted, Model, Overrides, Start, check_gradient,
};
use robustseg_datasets::{Class, Error, Image, LabelMap, Labelling, Manifest, read_pair};
use robustseg_metrics::ConfusionMatrix;
use robustseg_models::{Checkpoint, CheckpointClass, Network, Origin};
use robustseg_ops::{IGNORE_LABEL, PixelObjective, pixel_objective_per_image, predict, upsample_bilinear};
use robustseg_random::stream;
use robustseg_training::{Statistics, Target, Window, Windowed};
use robustseg_words::counted;
use serde::Serialize;
use tracing::warn;

use super::watched::Watched;
use crate::checkpoint::{self, require_classes};
use crate::device::DeviceChoice;
use crate::exit::BadData;
use crate::image_file;
use crate::inputs::{Inputs, check_folder};
use crate::memory;
use crate::number;
use crate::report::legend;
use crate::run_directory::RunDirectory;
use crate::window;

/// What to do about label files that do not hold class indices.
const ASK_MANIFEST: &str = "give the data's manifest with --manifest, which says what label values mean";

/// Arguments of `attack`.
#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["image", "input"])))]
pub(crate) struct Attack {
    /// The checkpoint of the network to attack.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// The attack: fgsm, `random_fgsm`, bim, `fast_newton`, pgd, `mi_fgsm`, segpgd, cospgd, apgd, sea or dag.
    #[arg(long)]
    method: String,
    /// Radius of the perturbation, images being in `[0, 1]`, for example 0.03 or 8/255; for `fast_newton` its largest
    /// step [default: 0.03, for `fast_newton` none].
    #[arg(long, allow_hyphen_values = true, value_parser = number::parse)]
    epsilon: Option<f64>,
    /// Size of one step of an iterated attack, but for apgd and sea, which find their own [default: 0.01; of dag 0.002].
    #[arg(long, allow_hyphen_values = true, value_parser = number::parse)]
    alpha: Option<f64>,
    /// Steps of an iterated attack [default: 3; of apgd 100, of sea 300 for each of its three objectives, of dag 200 at most].
    #[arg(long)]
    steps: Option<usize>,
    /// Random starts of pgd [default: 1].
    #[arg(long)]
    restarts: Option<usize>,
    /// Where segpgd and cospgd start: at the image, or at a random point of the ball as in their papers and in the curves
    /// of a spec [default: image].
    #[arg(long, value_parser = PossibleValuesParser::new(["image", "random"]).map(start))]
    start: Option<Start>,
    /// Decides the draws of random attacks.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// An image, JPEG or PNG.
    #[arg(long, requires = "label")]
    image: Option<PathBuf>,
    /// The image's label map: a PNG of class indices, 255 = not labelled, or a label file as --manifest describes them.
    #[arg(long, requires = "image")]
    label: Option<PathBuf>,
    /// A safetensors file with `image` (f32 N,3,H,W in `[0, 1]`) and `label` (u8 N,H,W).
    #[arg(long, value_name = "CASE.safetensors")]
    input: Option<PathBuf>,
    /// The data manifest that says what the values or colours of --label mean.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Takes the manifest's classes for those of the checkpoint, whatever their names are.
    #[arg(long, requires = "manifest")]
    ignore_classes: bool,
    /// What the attacked network sees, as in an evaluation: `whole`, the image, `sliding:SIZE:STRIDE`, square windows
    /// whose logits are averaged where they overlap, or `center_crop:SIZE`, the square in the middle, to which image and
    /// label are cut.
    #[arg(long, default_value = "whole", value_parser = window::parse)]
    window: Window,
    /// Where results go: adversarial.safetensors and attack.json, with --image pictures too.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Writes the full-size logits before and after into adversarial.safetensors, as is always done for --input.
    #[arg(long)]
    logits: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Prints attack.json instead of a table.
    #[arg(long)]
    json: bool,
}

/// What `--start` says.
#[allow(clippy::needless_pass_by_value)] // as clap gives it
fn start(text: String) -> Start {
    if text == "random" { Start::Random } else { Start::Image }
}

/// `attack.json`.
#[derive(Serialize)]
struct Report {
    method: String,
    /// What the attacked network sees.
    window: Window,
    seed: u64,
    /// Passes of single images through the network, all images together.
    passes: Budget,
    images: Vec<ImageReport>,
    /// What rounding to the 8 bits of adversarial.png does to the example, where that is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    adversarial_png: Option<RoundedReport>,
}

/// The example of adversarial.png, which is rounded to 8 bits; that of adversarial.safetensors is not.
#[derive(Serialize)]
struct RoundedReport {
    /// The largest change of a value by rounding, images being in `[0, 1]`.
    largest_rounding: f32,
    /// The same in units of epsilon, if there is one.
    largest_rounding_in_epsilons: Option<f32>,
    /// How far the rounded example is from the image at most.
    largest_perturbation: f32,
    after: Measures,
}

/// What the attack did to one image.
#[derive(Serialize)]
struct ImageReport {
    /// The step or radius that was used.
    epsilon: f32,
    largest_perturbation: f32,
    before: Measures,
    after: Measures,
}

/// One image's loss and scores.
#[derive(Serialize)]
struct Measures {
    /// Mean cross-entropy over the labelled pixels.
    loss: f32,
    mean_gain: f32,
    miou: Option<f64>,
    pixel_accuracy: Option<f64>,
}

/// What the network makes of images.
struct Answer {
    predictions: Vec<Vec<u8>>,
    measures: Vec<Measures>,
}

impl Attack {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let Self { epsilon, alpha, steps, restarts, start, .. } = *self;
        let overrides = Overrides { epsilon, alpha, steps, restarts, start };
        let config = AttackConfig::by_name(&self.method, overrides)?;
        let given = [&self.image, &self.label, &self.input, &self.manifest];
        let inputs = Inputs::of(given.into_iter().flatten().chain([&self.checkpoint]));
        // Before the attack, and again once the folder is locked.
        check_folder(&self.out, "attack", "", &inputs)?;
        let device = self.device.open()?;
        let Checkpoint { network, origin } = Checkpoint::load(&self.checkpoint, &device)?;
        let manifest = self.manifest.as_deref().map(Manifest::load).transpose()?;
        let (image, label) = self.case(&network, &origin, manifest.as_ref(), &device)?;
        if device.is_cpu() {
            let (count, height, width) = label.dims3()?;
            let bytes = memory::of_attack(network.config(), self.window, [count, height, width])?;
            let images = counted(count, "image");
            let what = format!("attacking {images} of {width}x{height} pixels at once");
            let advice =
                "raise the limit, give fewer or smaller images, or take a --window, such as center_crop:512";
            memory::require(bytes, &what, advice)?;
        }
        let directory = RunDirectory::for_results(&self.out, "attack", &inputs)?;

        let target = Windowed::new(Target::new(&network, Statistics::Running), self.window);
        let classes = network.config().num_classes;
        if let Some(complaint) = check_gradient(&target, &image, &label)?.and_then(|check| check.complaint())
        {
            warn!("{complaint}");
        }
        let mut random = stream(self.seed, "attack", [0; 3]);
        let watched = Watched::new(&target, config.backward_passes());
        let model = Counted::new(&watched);
        let adversarial = config.attack().perturb(&model, &image, &label, &mut random)?;
        let passes = model.take();
        let before = answer(&target, classes, &image, &label)?;
        let after = answer(&target, classes, &adversarial.image, &label)?;

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
            let seen = answer(&target, classes, &rounded, &label)?;
            Some(rounding(&image, &adversarial, &rounded, seen)?)
        } else {
            None
        };
        let report = self.report(&image, &adversarial, passes, before, after)?;
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

    /// Images (N, 3, H, W) and labels (N, H, W) to attack, cut to what the window leaves of them.
    fn case(
        &self,
        network: &Network,
        origin: &Origin,
        manifest: Option<&Manifest>,
        device: &Device,
    ) -> anyhow::Result<(Tensor, Tensor)> {
        let classes = network.config().num_classes;
        let (image, label, place) = match (&self.input, &self.image, &self.label) {
            (Some(path), _, _) => {
                let (image, label) = read_case(path, device)?;
                (image, label, path)
            }
            (None, Some(image), Some(label)) => {
                let (pixels, labels) = self.pair((image, label), classes, origin, manifest)?;
                let (height, width) = (labels.height, labels.width);
                let labels = Tensor::from_vec(labels.data, (1, height, width), device)?;
                (image_file::tensor(&pixels, device)?, labels, label)
            }
            _ => unreachable!("the command line asks for one or the other"),
        };
        let labels: Vec<u8> = label.flatten_all()?.to_vec1()?;
        let wrong = labels.iter().find(|&&value| value != IGNORE_LABEL && usize::from(value) >= classes);
        if let Some(value) = wrong {
            let place = place.display();
            let hint = if self.label.is_some() { format!("; {ASK_MANIFEST}") } else { String::new() };
            let text = format!(
                "{place}: label value {value}, but the checkpoint has {classes} classes (0 to {}, 255 = not \
                 labelled){hint}",
                classes - 1
            );
            return Err(BadData(text).into());
        }
        let (_, height, width) = label.dims3()?;
        let [top, left, rows, columns] = self.window.region(height, width);
        // Images of another size than their labels are the attack's to refuse.
        if [rows, columns] == [height, width] || image.dims()[2..] != [height, width] {
            return Ok((image, label));
        }
        let image = image.narrow(2, top, rows)?.narrow(3, left, columns)?.contiguous()?;
        Ok((image, label.narrow(1, top, rows)?.narrow(2, left, columns)?.contiguous()?))
    }

    /// Image and label as the manifest says, which has to be of the checkpoint's classes; without one, the label's values
    /// are the indices of these classes.
    fn pair(
        &self,
        (image, label): (&Path, &Path),
        num_classes: usize,
        origin: &Origin,
        manifest: Option<&Manifest>,
    ) -> anyhow::Result<(Image, LabelMap)> {
        if let Some(manifest) = manifest {
            require_classes(&self.checkpoint, origin, num_classes, manifest, self.ignore_classes)?;
            return Ok(read_pair(image, label, Labelling::Manifest(manifest))?);
        }
        let class = |class: &CheckpointClass| Class {
            name: class.name.clone(),
            colour: class.colour,
            values: Vec::new(),
            label_colours: Vec::new(),
        };
        let classes: Option<Vec<Class>> =
            origin.classes.as_ref().map(|classes| classes.iter().map(class).collect());
        let labelling = classes.as_deref().map_or(Labelling::Indices, Labelling::Classes);
        read_pair(image, label, labelling).map_err(|error| match error {
            Error::TrainingIds { .. } | Error::LabelValue { .. } => {
                BadData(format!("{error}; {ASK_MANIFEST}")).into()
            }
            error => error.into(),
        })
    }

    fn report(
        &self,
        image: &Tensor,
        adversarial: &Adversarial,
        passes: Budget,
        before: Answer,
        after: Answer,
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
            method: self.method.clone(),
            window: self.window,
            seed: self.seed,
            passes,
            images: images.collect(),
            adversarial_png: None,
        })
    }
}

/// The largest difference of a value in each of the images.
fn largest_difference(a: &Tensor, b: &Tensor) -> candle_core::Result<Vec<f32>> {
    (a - b)?.abs()?.flatten_from(1)?.max(1)?.to_vec1()
}

/// How far the `rounded` example of one `image` is from the one that was crafted, and what the network has `seen` in it.
fn rounding(
    image: &Tensor,
    adversarial: &Adversarial,
    rounded: &Tensor,
    mut seen: Answer,
) -> anyhow::Result<RoundedReport> {
    let largest_rounding = largest_difference(rounded, &adversarial.image)?[0];
    let epsilon = adversarial.epsilon.to_vec1::<f32>()?[0];
    Ok(RoundedReport {
        largest_rounding,
        largest_rounding_in_epsilons: (epsilon > 0.0).then_some(largest_rounding / epsilon),
        largest_perturbation: largest_difference(rounded, image)?[0],
        after: seen.measures.remove(0),
    })
}

/// The attacked image rounded to 8 bits, which is given back, and what the network sees before and after.
fn write_pictures(
    directory: &RunDirectory,
    image: &Tensor,
    answers: [&Answer; 2],
    classes: &[CheckpointClass],
) -> anyhow::Result<Image> {
    let picture = image_file::rounded(image)?;
    directory.write("adversarial.png", &image_file::rgb_png(&picture)?)?;
    directory.write("legend.svg", legend(classes).as_bytes())?;
    let palette = checkpoint::palette(classes);
    for (name, answer) in ["prediction_clean.png", "prediction_adversarial.png"].into_iter().zip(answers) {
        let bytes = image_file::label_png(&answer.predictions[0], picture.width, picture.height, &palette)?;
        directory.write(name, &bytes)?;
    }
    Ok(picture)
}

fn read_case(path: &Path, device: &Device) -> anyhow::Result<(Tensor, Tensor)> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    if !path.is_file() {
        return Err(refuse("no such file".into()).into());
    }
    let mut tensors = candle_core::safetensors::load(path, device)
        .map_err(|error| refuse(format!("is no whole safetensors file ({error})")))?;
    let mut take = |name: &str, dtype: DType, shape: &str, rank: usize| -> Result<Tensor, BadData> {
        let tensor = tensors.remove(name).ok_or_else(|| refuse(format!("holds no tensor `{name}`")))?;
        if tensor.dtype() == dtype && tensor.rank() == rank {
            return Ok(tensor);
        }
        let (found, dims) = (tensor.dtype(), tensor.dims());
        Err(refuse(format!("`{name}` must be {dtype:?} of shape {shape}, found {found:?} {dims:?}")))
    };
    Ok((take("image", DType::F32, "(N, 3, H, W)", 4)?, take("label", DType::U8, "(N, H, W)", 3)?))
}

/// The model's predictions and scores for each of the images.
fn answer(model: &dyn Model, classes: usize, image: &Tensor, label: &Tensor) -> anyhow::Result<Answer> {
    let (count, height, width) = label.dims3()?;
    let logits = model.logits(image)?;
    let objective = |objective| -> anyhow::Result<Vec<f32>> {
        Ok(pixel_objective_per_image(&logits, label, objective, model.alignment())?.to_vec1()?)
    };
    let (losses, gains) = (objective(PixelObjective::CrossEntropy)?, objective(PixelObjective::Gain)?);
    let predicted = predict(&logits, height, width, model.alignment())?.reshape((count, height * width))?;
    let predictions: Vec<Vec<u8>> = predicted.to_vec2()?;
    let labels: Vec<Vec<u8>> = label.reshape((count, height * width))?.to_vec2()?;
    let mut measures = Vec::with_capacity(count);
    for index in 0..count {
        let mut matrix = ConfusionMatrix::new(classes);
        matrix.update(&predictions[index], &labels[index])?;
        measures.push(Measures {
            loss: losses[index],
            mean_gain: gains[index],
            miou: matrix.mean_iou(),
            pixel_accuracy: matrix.pixel_accuracy(),
        });
    }
    Ok(Answer { predictions, measures })
}

/// Logits (N, K, H, W) of the size of `image`.
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

fn score(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.4}"))
}

impl Report {
    fn print(&self) {
        println!(
            "{:>5} {:>9} {:>9} {:>17} {:>17} {:>15} {:>15}",
            "image", "epsilon", "largest", "loss", "mean gain", "mean IoU", "accuracy"
        );
        for (index, image) in self.images.iter().enumerate() {
            let ImageReport { epsilon, largest_perturbation: largest, before, after } = image;
            println!(
                "{index:>5} {epsilon:>9.5} {largest:>9.5} {:>8.4} {:>8.4} {:>8.4} {:>8.4} {:>7} {:>7} {:>7} {:>7}",
                before.loss,
                after.loss,
                before.mean_gain,
                after.mean_gain,
                score(before.miou),
                score(after.miou),
                score(before.pixel_accuracy),
                score(after.pixel_accuracy),
            );
        }
        let Budget { forward, backward } = self.passes;
        println!("{forward} forward and {} of single images", counted(backward, "backward pass"));
        if let Some(RoundedReport { largest_rounding, largest_rounding_in_epsilons, after, .. }) =
            &self.adversarial_png
        {
            let share =
                largest_rounding_in_epsilons.map_or(String::new(), |share| format!(", {share:.2} epsilon"));
            println!(
                "adversarial.png is rounded to 8 bits, by up to {largest_rounding:.5}{share}: loss {:.4}, accuracy {} \
                 with it; adversarial.safetensors has the example as it is",
                after.loss,
                score(after.pixel_accuracy)
            );
        }
    }
}
