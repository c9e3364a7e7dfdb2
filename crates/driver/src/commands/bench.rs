//! `robustseg bench`: the time of a training step, method by method.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use clap::Args;
use rand::RngExt;
use robustseg_datasets::{Batch, CropSize, IGNORE_LABEL, Loader};
use robustseg_files::write_atomically;
use robustseg_models::{Architecture, Branch, Network, NetworkConfig, NetworkSpec};
use robustseg_random::stream;
use robustseg_training::{Basic, MethodConfig, Seconds, Trainer, TrainingConfig};
use robustseg_words::plain;
use serde_json::{Map, Value, json};
use tracing::info;

use super::bench_evaluation;
use super::median::median;
use crate::device::{self, Convolutions, DeviceChoice, Precision, peak_bytes};
use crate::exit::Usage;
use crate::inputs::{Inputs, check_file};
use crate::plan::Plan;
use crate::spec::Spec;

/// Arguments of `bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// A spec whose network, data and training settings are timed. Without one: PSPNet50 with 21
    /// classes, on random data in memory, with exactly half of each batch attacked.
    spec: Option<PathBuf>,
    /// The methods to time, in turn. The spec's method has the spec's settings, others their
    /// defaults.
    #[arg(long, value_delimiter = ',', default_value = "basic,fgsm,random_fgsm,fast_newton,bim")]
    methods: Vec<String>,
    /// Images per batch [default: the spec's, else 2, on a GPU 16].
    #[arg(long)]
    batch: Option<usize>,
    /// Side of the square images [default: the spec's crop, else 472].
    #[arg(long)]
    size: Option<usize>,
    /// Residual blocks of the four stages [default: the spec's, else 3,4,6,3].
    #[arg(long, value_delimiter = ',')]
    layers: Option<Vec<usize>>,
    /// Channels of the stem [default: the spec's, else 64].
    #[arg(long)]
    width: Option<usize>,
    /// Timed steps per method. The result is their median.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Warm-up steps per method.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// Also times evaluation: the forward pass of a batch, and the paper's two robustness curves of
    /// one image.
    #[arg(long)]
    evaluation: bool,
    /// Images whose robustness curves are computed together. The reported time is that of one
    /// image.
    #[arg(long, default_value_t = 1)]
    curve_batch: usize,
    /// Device to compute on: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the network [default: the spec's, else f32].
    #[arg(long)]
    precision: Option<Precision>,
    /// How a GPU's convolution algorithms are chosen.
    #[arg(long, default_value = "measured")]
    convolutions: Convolutions,
    /// Writes the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What to time.
struct Workload {
    model: NetworkConfig,
    training: TrainingConfig,
    batch: usize,
    size: CropSize,
    precision: Precision,
    source: Source,
}

/// The source of batches.
enum Source {
    Memory(Box<Batch>),
    Data(Box<Plan>),
}

/// The times of one method's steps, in seconds.
#[derive(Default)]
struct Times {
    step: Vec<f64>,
    parts: Vec<Seconds>,
}

/// Whether `bytes` are the results of an earlier bench.
fn is_results(bytes: &[u8]) -> bool {
    let found: Option<Map<String, Value>> = serde_json::from_slice(bytes).ok();
    let keys = ["config", "step_s", "images_per_s", "additional_time_percent", "split_s"];
    found.is_some_and(|found| keys.iter().all(|key| found.contains_key(*key)))
}

impl Bench {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        if self.steps == 0 {
            return Err(Usage("--steps must be at least 1".into()).into());
        }
        if let Some(path) = &self.json {
            check_file(path, "--json", &Inputs::of(&self.spec), is_results)?;
        }
        let mut methods = self.methods.iter().map(|name| method(name)).collect::<Result<Vec<_>, _>>()?;
        let device = self.device.open()?;
        let workload = self.workload(&device)?;
        // The spec's own method keeps its settings.
        let own = &workload.training.method;
        for method in methods.iter_mut().filter(|method| method.name() == own.name()) {
            method.clone_from(own);
        }
        if !(1..=workload.batch).contains(&self.curve_batch) {
            let text = format!("--curve-batch must be between 1 and the batch, {} images", workload.batch);
            return Err(Usage(text).into());
        }
        let (times, network) = self.measure(&workload, &methods, &device)?;
        let mut results = self.results(&workload, &methods, &times, &device);
        print_table(&methods, &results);
        if self.evaluation {
            let batch = random_batch(workload.batch, workload.size, workload.model.num_classes);
            let rounds = (self.warmup, self.steps);
            let seconds = bench_evaluation::measure(&network, &batch, self.curve_batch, rounds)?;
            println!(
                "forward pass {:.3} s a batch, curves {:.1} s an image",
                seconds.forward, seconds.curves
            );
            results["evaluation_s"] = json!({"forward": seconds.forward, "curves": seconds.curves});
            results["peak_bytes"] = peak_bytes(&device).into();
        }
        results["convolutions"] = device::convolutions();
        results["cuda_graphs"] = device::recordings();
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&results)? + "\n";
            write_atomically(path, text.as_bytes())
                .map_err(|error| anyhow::anyhow!("writing {}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn workload(&self, device: &Device) -> anyhow::Result<Workload> {
        let spec = self.spec.as_deref().map(|path| Spec::read(path, &[])).transpose()?;
        let (mut model, mut training, plan) = if let Some(mut spec) = spec {
            spec.training.batch_size = self.batch.unwrap_or(spec.training.batch_size);
            spec.training.augmentation.crop =
                self.size.map_or(spec.training.augmentation.crop, CropSize::from);
            let plan = Plan::new(spec)?;
            (plan.model.clone(), plan.spec.training.clone(), Some(plan))
        } else {
            let mut training = TrainingConfig::new(Basic {}, 1);
            training.batch_size = self.batch.unwrap_or(if device.is_cpu() { 2 } else { 16 });
            training.augmentation.crop = self.size.unwrap_or(472).into();
            (NetworkSpec::default().network(21, Vec::new()), training, None)
        };
        model.architecture = self.architecture(&model.architecture)?;
        // Random labels teach nothing. A tiny rate keeps the weights in place.
        training.learning_rate = if plan.is_some() { training.learning_rate } else { 1e-6 };
        training.validate()?;
        let (batch, size) = (training.batch_size, training.augmentation.crop);
        if size.pixels() == 0 {
            return Err(Usage("--size must be at least 1".into()).into());
        }
        let source = match plan {
            Some(plan) => Source::Data(Box::new(plan)),
            None => Source::Memory(Box::new(random_batch(batch, size, model.num_classes))),
        };
        let of_spec = match &source {
            Source::Data(plan) => plan.spec.precision,
            Source::Memory(_) => Precision::default(),
        };
        let precision = self.precision.unwrap_or(of_spec);
        Ok(Workload { model, training, batch, size, precision, source })
    }

    /// The spec's network with the settings of the command line.
    fn architecture(&self, of_spec: &Architecture) -> Result<Architecture, Usage> {
        let mut fields = Map::new();
        if let Some(layers) = &self.layers {
            if layers.len() != 4 {
                let text = "--layers needs four numbers, for example 3,4,6,3; found";
                return Err(Usage(format!("{text} {}", layers.len())));
            }
            fields.insert("layers".into(), layers.clone().into());
        }
        if let Some(width) = self.width {
            fields.insert("width".into(), width.into());
        }
        let name = of_spec.name();
        of_spec.with(fields).map_err(|error| Usage(format!("--layers, --width: of {name}, {}", plain(error))))
    }

    /// Times `methods` in turn, so that a drifting machine affects all of them alike. Also returns
    /// the network.
    fn measure(
        &self,
        work: &Workload,
        methods: &[MethodConfig],
        device: &Device,
    ) -> anyhow::Result<(Vec<Times>, Network)> {
        let rounds = self.warmup + self.steps;
        let mut loader = match &work.source {
            Source::Memory(_) => None,
            Source::Data(plan) => {
                let steps = 0..(rounds * methods.len()) as u64;
                Some(work.training.loader(
                    &plan.train,
                    plan.spec.seed,
                    work.model.mean,
                    steps,
                    plan.spec.data.on_bad_sample,
                )?)
            }
        };
        let half: Vec<bool> = (0..work.batch).map(|index| index < (work.batch / 2).max(1)).collect();
        let mut times: Vec<Times> = methods.iter().map(|_| Times::default()).collect();
        let build = |branches| -> anyhow::Result<Network> {
            let mut network = Network::new(&NetworkConfig { branches, ..work.model.clone() }, 0, device)?;
            work.precision.set(&mut network, self.convolutions)?;
            Ok(network)
        };
        // Methods that need the same branches share a network.
        let mut networks: BTreeMap<Vec<Branch>, Network> = BTreeMap::new();
        for round in 0..rounds {
            for (method, times) in methods.iter().zip(&mut times) {
                let config = TrainingConfig { method: method.clone(), ..work.training.clone() };
                let branches = method.branches(work.model.num_classes);
                let network = match networks.remove(&branches) {
                    Some(network) => network,
                    None => build(branches.clone())?,
                };
                let mut trainer = Trainer::new(network, &config, 0, rounds as u64)?;
                trainer.set_class_pixels(&vec![1; work.model.num_classes]);
                let start = Instant::now();
                let record = match (&work.source, &mut loader) {
                    (Source::Memory(batch), _) => trainer.step_with(batch, &half)?,
                    (Source::Data(_), loader) => {
                        let batch = next(loader)?;
                        let waited = start.elapsed().as_secs_f64();
                        let mut record = trainer.step_with(&batch, &half)?;
                        record.seconds.data += waited;
                        record
                    }
                };
                let mut step = start.elapsed().as_secs_f64();
                if let Source::Memory(_) = work.source {
                    // As if the batch were on the device already: a training uploads its batches
                    // ahead of time.
                    step -= record.seconds.data;
                }
                info!("round {} of {rounds}: {} {step:.2} s", round + 1, method.name());
                if round >= self.warmup {
                    times.step.push(step);
                    times.parts.push(record.seconds);
                }
                networks.insert(branches, trainer.into_network());
            }
        }
        let (_, network) = networks.pop_first().context("there are neither methods nor rounds")?;
        Ok((times, network))
    }

    /// Everything that determines the times.
    fn config(&self, work: &Workload) -> Value {
        let mut config = json!({
            "spec": self.spec.as_deref().map(|path| path.display().to_string()),
            "methods": self.methods, "batch": work.batch, "size": work.size,
            "classes": work.model.num_classes,
        });
        for (key, value) in work.model.architecture.fields() {
            config[key] = value;
        }
        config["precision"] = work.precision.name().into();
        config["steps"] = self.steps.into();
        config["warmup"] = self.warmup.into();
        config
    }

    fn results(&self, work: &Workload, methods: &[MethodConfig], times: &[Times], device: &Device) -> Value {
        let by_method = |value: &dyn Fn(&Times) -> Value| -> Value {
            let pairs = methods.iter().zip(times);
            pairs
                .map(|(method, times)| (method.name().to_owned(), value(times)))
                .collect::<Map<_, _>>()
                .into()
        };
        let basic = methods.iter().position(|method| !method.crafts());
        let basic = basic.map(|index| median(times[index].step.iter().copied()));
        let part = |times: &Times, part: fn(&Seconds) -> f64| median(times.parts.iter().map(part));
        json!({
            "robustseg": env!("CARGO_PKG_VERSION"),
            "device": device::describe(device),
            "config": self.config(work),
            "step_s": by_method(&|times| median(times.step.iter().copied()).into()),
            "images_per_s": by_method(&|times| (work.batch as f64 / median(times.step.iter().copied())).into()),
            "additional_time_percent": basic.map(|basic| by_method(&|times| {
                (100.0 * (median(times.step.iter().copied()) / basic - 1.0)).into()
            })),
            "split_s": by_method(&|times| json!({
                "data": part(times, |seconds| seconds.data),
                "attack": part(times, |seconds| seconds.attack),
                "forward": part(times, |seconds| seconds.forward),
                "backward": part(times, |seconds| seconds.backward),
                "optimiser": part(times, |seconds| seconds.optimiser),
            })),
            "peak_bytes": peak_bytes(device),
        })
    }
}

fn method(name: &str) -> Result<MethodConfig, Usage> {
    MethodConfig::by_name(name).ok_or_else(|| {
        let names: Vec<_> = MethodConfig::all().iter().map(|method| method.name()).collect();
        Usage(format!("--methods: there is no method `{name}`; there are {}", names.join(", ")))
    })
}

fn next(loader: &mut Option<Loader>) -> anyhow::Result<Batch> {
    let batch = loader.as_mut().and_then(Iterator::next);
    Ok(batch.ok_or_else(|| anyhow::anyhow!("the loader ended before the last step"))??)
}

/// Random images and labels of `size`. The first two rows are not labelled.
fn random_batch(count: usize, size: CropSize, classes: usize) -> Batch {
    let mut random = stream(0, "bench", [0; 3]);
    let images = (0..count * 3 * size.pixels()).map(|_| random.random::<f32>()).collect();
    let label =
        |pixel: usize, class: u8| if pixel % size.pixels() < 2 * size.width { IGNORE_LABEL } else { class };
    let labels =
        (0..count * size.pixels()).map(|pixel| label(pixel, random.random_range(0..classes as u8))).collect();
    let ids = (0..count).map(|index| format!("random {index}")).collect();
    Batch { ids, images, labels, height: size.height, width: size.width }
}

fn print_table(methods: &[MethodConfig], results: &Value) {
    println!("{}: {}", results["device"].as_str().unwrap_or_default(), results["config"]);
    println!(
        "{:<12} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "method", "s/step", "images/s", "added %", "data", "attack", "forward", "backward", "optimiser"
    );
    for method in methods {
        let name = method.name();
        let number = |key: &str| results[key][name].as_f64().unwrap_or(f64::NAN);
        let part = |key: &str| results["split_s"][name][key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{name:<12} {:>9.3} {:>9.3} {:>8.1} {:>8.3} {:>8.3} {:>8.3} {:>9.3} {:>9.3}",
            number("step_s"),
            number("images_per_s"),
            number("additional_time_percent"),
            part("data"),
            part("attack"),
            part("forward"),
            part("backward"),
            part("optimiser"),
        );
    }
}
