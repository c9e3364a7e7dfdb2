//! `robustseg check`: the plan of a spec, and whether its data exists.

use clap::Args;
use robustseg_datasets::{Dataset, Overlap, Shared, overlaps};
use robustseg_words::counted;
use serde::Serialize;

use super::{SpecArguments, told};
use crate::data::of_split;
use crate::device::DeviceChoice;
use crate::plan::Plan;
use crate::spec::{Layer, Layered};

/// Arguments of `check`.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    spec: SpecArguments,
    /// Device of the run, instead of the spec's choice: auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Prints the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// The plan in numbers.
#[derive(Serialize)]
struct Summary {
    name: String,
    method: &'static str,
    data: String,
    root: String,
    train_samples: usize,
    validation_samples: usize,
    evaluation_samples: usize,
    evaluation_protocol: String,
    /// The part of each image that is evaluated. Empty for whole images.
    evaluation_window: String,
    evaluation_passes_per_image: u64,
    classes: usize,
    parameters: usize,
    steps_per_epoch: u64,
    total_steps: u64,
    training_multiply_adds: u64,
    evaluation_multiply_adds: u64,
    training_memory_bytes: u64,
    evaluation_memory_bytes: u64,
    warnings: Vec<String>,
    /// The layers of a spec that has several, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
}

impl Check {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let Layered { mut spec, layers } = self.spec.read()?;
        spec.device = self.device.unwrap_or(spec.device);
        let (plan, device) = Plan::prepare(spec, None)?;
        plan.require_weights(&device)?;
        let reports = plan.splits().map(Dataset::check).collect::<Result<Vec<_>, _>>()?;
        // Compared by pixels: only this check notices a copy in another format.
        for Overlap { first, second, count, examples, .. } in overlaps(&plan.data.manifest, &reports) {
            // Reports are in the order of the plan, with the training split first.
            if first == plan.train.split() {
                plan.require_allowed(&second, &Shared { count, examples })?;
            }
        }
        let of_splits = reports.into_iter().flat_map(|report| of_split(&report.split, report.warnings));
        let warnings = told(of_splits.chain(plan.overlaps()).chain(plan.occupied()).collect());
        let summary = summary(&plan, layers, warnings)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            print!("{}", plan.spec.to_yaml()?);
            summary.print();
        }
        Ok(())
    }
}

fn summary(plan: &Plan, layers: Vec<Layer>, warnings: Vec<String>) -> anyhow::Result<Summary> {
    let evaluation = plan.evaluation.len();
    Ok(Summary {
        name: plan.spec.name.clone(),
        method: plan.spec.training.method.name(),
        data: plan.data.manifest.name.clone(),
        root: plan.data.root.display().to_string(),
        train_samples: plan.train.len(),
        validation_samples: plan.validation.len(),
        evaluation_samples: plan.spec.evaluation.limit.map_or(evaluation, |limit| limit.min(evaluation)),
        evaluation_protocol: plan.spec.evaluation.protocol.to_string(),
        evaluation_window: plan.spec.evaluation.window.to_string(),
        evaluation_passes_per_image: plan.spec.evaluation.passes_per_image(),
        classes: plan.data.num_classes(),
        parameters: plan.parameters()?,
        steps_per_epoch: plan.steps_per_epoch,
        total_steps: plan.total_steps,
        training_multiply_adds: plan.training_cost()?,
        evaluation_multiply_adds: plan.evaluation_cost()?,
        training_memory_bytes: plan.training_memory()?,
        evaluation_memory_bytes: plan.evaluation_memory()?,
        warnings,
        layers: if layers.len() > 1 { layers } else { Vec::new() },
    })
}

impl Summary {
    fn print(&self) {
        let tera = |count: u64| count as f64 / 1e12;
        print_layers(&self.layers);
        println!("\nplan of {} ({})", self.name, self.method);
        println!(
            "  data        {} in {}",
            self.data,
            if self.root.is_empty() { "memory" } else { &self.root }
        );
        println!(
            "  samples     {} to train on, {} to validate on, {} to evaluate on",
            self.train_samples, self.validation_samples, self.evaluation_samples
        );
        println!(
            "  network     {}, {}",
            counted(self.parameters, "parameter"),
            counted(self.classes, "class")
        );
        println!("  training    {}, {} each epoch", counted(self.total_steps, "step"), self.steps_per_epoch);
        println!(
            "  evaluation  at most {} passes per image, {}{}{}",
            self.evaluation_passes_per_image,
            self.evaluation_protocol,
            if self.evaluation_window.is_empty() { "" } else { ", " },
            self.evaluation_window
        );
        println!(
            "  cost        about {:.2} T multiply-adds to train, at most {:.2} T to evaluate, and the validations",
            tera(self.training_multiply_adds),
            tera(self.evaluation_multiply_adds)
        );
        let giga = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        println!(
            "  memory      at least {:.1} GB to train, {:.1} GB to evaluate under attack; up to twice that",
            giga(self.training_memory_bytes),
            giga(self.evaluation_memory_bytes)
        );
        // 175 GFLOP/s is the peak of two cores with AVX2. A whole step reaches half of it.
        let hours =
            self.training_multiply_adds.saturating_add(self.evaluation_multiply_adds) as f64 / 40e9 / 3600.0;
        println!(
            "  time        about {hours:.2} hours at 40 G multiply-adds per second (two cores with AVX2)"
        );
    }
}

/// Prints what each of several layers changes in those before it.
fn print_layers(layers: &[Layer]) {
    if layers.is_empty() {
        return;
    }
    println!("\nlayers, each with what it changes");
    for Layer { source, changes } in layers {
        println!("  {source}");
        for change in changes {
            println!("    {change}");
        }
    }
}
