//! `robustseg evaluate`: the spec's evaluation for a given checkpoint.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use clap::Args;
use robustseg_datasets::Dataset;
use robustseg_models::PspNet;
use robustseg_training::Evaluated;
use tracing::info;

use super::{SpecArguments, told};
use crate::device::{DeviceChoice, describe};
use crate::exit::BadData;
use crate::interrupt::stop_flag;
use crate::observer::RunObserver;
use crate::outputs::Inputs;
use crate::plan::{Data, of_split};
use crate::provenance::{CheckpointProvenance, Invocation, Provenance};
use crate::results;
use crate::run_directory::RunDirectory;
use crate::spec::Spec;

/// Arguments of `evaluate`.
#[derive(Args)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    spec: SpecArguments,
    /// The checkpoint.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Writes evaluation.json, figures and report.html into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where to compute, instead of the spec's choice: auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Prints evaluation.json instead of a table.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let spec = self.spec.read()?;
        let device = self.device.unwrap_or(spec.device).open()?;
        let mut network = PspNet::load(&self.checkpoint, &device)?;
        spec.precision.set(&mut network, spec.convolutions)?;
        let data = Data::find(&spec)?;
        let (has, needs) = (network.config().num_classes, data.num_classes());
        if has != needs {
            let path = self.checkpoint.display();
            let text = format!("checkpoint {path}: has {has} classes, the data of this spec {needs}");
            return Err(BadData(text).into());
        }
        let dataset = data.open(spec.evaluation_split())?;
        let warnings = told(of_split(dataset.split(), dataset.warnings()));
        let directory = self.directory(&spec, &data, &dataset, &device, &warnings)?;
        let stop = stop_flag()?;
        let evaluated = measure(&network, &dataset, &spec, &stop, &mut RunObserver::new(None))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&evaluated.evaluation)?);
        } else {
            results::print(&evaluated.evaluation, &warnings);
        }
        if let Some(directory) = &directory {
            let report = results::write(directory, &evaluated, &data.manifest.classes)?;
            info!("report: {}", report.display());
        }
        Ok(())
    }

    /// The directory for the results, with the spec and where they come from. One that holds another checkpoint's
    /// results, or a training, is refused.
    fn directory(
        &self,
        spec: &Spec,
        data: &Data,
        dataset: &Dataset,
        device: &Device,
        warnings: &[String],
    ) -> anyhow::Result<Option<RunDirectory>> {
        let Some(out) = &self.out else { return Ok(None) };
        let inputs =
            Inputs::of([self.checkpoint.as_path(), self.spec.path(), &spec.data.manifest, &data.root]);
        let checkpoint = CheckpointProvenance::of(&self.checkpoint)?;
        let mut provenance = Provenance::of(spec, data, [dataset]).with_checkpoint(checkpoint);
        let directory = RunDirectory::open_evaluation(out, &provenance.fingerprint, &inputs)?;
        provenance.data.warnings = warnings.to_vec();
        provenance.invocations.push(Invocation::now(&describe(device)));
        directory.write_json("provenance.json", &provenance)?;
        directory.write("spec.yaml", spec.to_yaml()?.as_bytes())?;
        Ok(Some(directory))
    }
}

/// The evaluation of `network` on `dataset` as `spec` wants it.
pub(crate) fn measure(
    network: &PspNet,
    dataset: &Dataset,
    spec: &Spec,
    stop: &AtomicBool,
    observer: &mut RunObserver,
) -> anyhow::Result<Evaluated> {
    Ok(robustseg_training::evaluate(network, dataset, &spec.evaluation, stop, observer)?)
}
