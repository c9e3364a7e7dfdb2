//! `robustseg evaluate`: evaluates a given checkpoint as the spec says.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use clap::Args;
use robustseg_datasets::Dataset;
use robustseg_evaluation::{Error, Evaluated, Evaluation, Journal, Subject, Weights, evaluate_among};
use robustseg_models::Checkpoint;
use robustseg_words::counted;
use tracing::{info, warn};

use super::{SpecArguments, told};
use crate::checkpoint::require_classes;
use crate::data::{Data, of_split};
use crate::device::{DeviceChoice, describe};
use crate::exit::{Interrupted, NotSaved, Usage};
use crate::inputs::Inputs;
use crate::interrupt::stop_flag;
use crate::memory;
use crate::observer::RunObserver;
use crate::provenance::{CheckpointProvenance, Invocation, Provenance};
use crate::records::samples;
use crate::results;
use crate::run_directory::{RunDirectory, UNFINISHED};
use crate::sources::{self, Sources};
use crate::spec::Spec;
use crate::{identity, ranks, same_result};

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg evaluate --checkpoint runs/x/checkpoints/last.safetensors experiments/camvid_attacks.yaml --out runs/attacked
  robustseg evaluate --checkpoint x.safetensors spec.yaml --source other=y.safetensors --out runs/transfer";

/// Arguments of `evaluate`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    spec: SpecArguments,
    /// The checkpoint to evaluate.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Another checkpoint whose adversarial examples the evaluated one faces too, with a name for
    /// results. It adds to the spec's evaluation.sources and may be given several times.
    #[arg(long = "source", value_name = "NAME=FILE", value_parser = sources::parse)]
    sources: Vec<(String, PathBuf)>,
    /// Folder for evaluation.json, figures and report.html.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continues an interrupted evaluation after the last recorded image.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Device to compute on, instead of the spec's choice: auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Treats the checkpoint's classes as those of the data, whatever their names.
    #[arg(long)]
    ignore_classes: bool,
    /// Prints evaluation.json instead of a table.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let layered = self.spec.read()?;
        let mut spec = layered.spec.clone();
        for (name, path) in &self.sources {
            let earlier = spec.evaluation.sources.insert(name.clone(), path.clone());
            if let Some(earlier) = earlier.filter(|earlier| earlier != path) {
                let (path, earlier) = (path.display(), earlier.display());
                let text = format!("--source {name}: names both {earlier} and {path}; rename one of them");
                return Err(Usage(text).into());
            }
        }
        let device = self.device.unwrap_or(spec.device).open()?;
        let Checkpoint { mut network, origin } = Checkpoint::load(&self.checkpoint, &device)?;
        spec.precision.set(&mut network, spec.convolutions)?;
        let data = Data::find(&spec)?;
        let num_classes = network.config().num_classes;
        require_classes(&self.checkpoint, &origin, num_classes, &data.manifest, self.ignore_classes)?;
        let dataset = data.open(spec.evaluation_split())?;
        let sources = Sources::load(&spec, &data, &device, self.ignore_classes)?;
        if device.is_cpu() {
            memory::require_for_evaluation(network.config(), spec.precision, &spec.evaluation, &dataset)?;
            sources.require_memory(&spec, &dataset)?;
        }
        let warnings = told(of_split(dataset.split(), dataset.warnings()));
        let checkpoint = CheckpointProvenance::of(&self.checkpoint, origin)?;
        let identity = identity::of_evaluation(&spec, &data, &dataset, &checkpoint.sha256, &sources.records);
        let provenance = Provenance::of(identity, &spec, &data, [&dataset]);
        let mut provenance = Provenance { checkpoint: Some(checkpoint.clone()), ..provenance };
        provenance.data.warnings.clone_from(&warnings);
        let inputs = [self.checkpoint.as_path(), &spec.data.manifest, &data.root].into_iter();
        let inputs = inputs.chain(spec.evaluation.sources.values().map(PathBuf::as_path));
        let inputs = Inputs::of(inputs.chain(layered.files()));
        let directory = self.directory(&spec, &inputs, &dataset, provenance, &device)?;
        let stop = stop_flag(1)?;
        let observer = &mut RunObserver::new(None);
        let place = directory.as_ref().map(|directory| Place { directory, replaces_others: false });
        let subject = Subject { network: &network, sources: &sources.networks };
        let Measured { mut evaluated, .. } =
            measure(subject, &dataset, &spec, &data, place, &stop, observer)?;
        sources.say(&mut evaluated.evaluation);
        say_of(&mut evaluated.evaluation, &checkpoint);
        say_weights(&mut evaluated.evaluation, &spec, &data, &self.weights());
        if self.json {
            println!("{}", serde_json::to_string_pretty(&evaluated.evaluation)?);
        } else {
            results::print(&evaluated.evaluation, &checkpoint, &warnings);
        }
        if let Some(directory) = &directory {
            let report = results::write(directory, &evaluated, &data.manifest.classes)?;
            Journal::remove(&directory.file(UNFINISHED))?;
            info!("report: {}", report.display());
        }
        Ok(())
    }

    /// The name of the checkpoint's file. For a file written by training, it tells which weights of
    /// the training these are.
    fn weights(&self) -> String {
        self.checkpoint.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The directory for the results, with the spec and the provenance. Refuses a directory with
    /// results of another checkpoint, or with a training.
    fn directory(
        &self,
        spec: &Spec,
        inputs: &Inputs,
        dataset: &Dataset,
        mut provenance: Provenance,
        device: &Device,
    ) -> anyhow::Result<Option<RunDirectory>> {
        let Some(out) = &self.out else { return Ok(None) };
        same_result::require_same(out, &provenance, &[("evaluation", dataset)])?;
        let directory = RunDirectory::open_evaluation(out, &provenance.fingerprint, inputs, self.resume)?;
        provenance.invocations.push(Invocation::now(&describe(device)));
        if let Some(former) = Provenance::read(&directory.file("provenance.json"))? {
            provenance = provenance.appended_to(former);
        }
        directory.write_json("provenance.json", &provenance)?;
        samples::record_samples(&directory, [dataset])?;
        directory.write("spec.yaml", spec.to_yaml()?.as_bytes())?;
        Ok(Some(directory))
    }
}

/// Records in `evaluation` which checkpoint it belongs to.
pub(crate) fn say_of(evaluation: &mut Evaluation, checkpoint: &CheckpointProvenance) {
    evaluation.checkpoint = Some(checkpoint.sha256.clone());
    evaluation.training.clone_from(&checkpoint.training);
}

/// Records in `evaluation`, of a split of `data`, which `weights` of a training it belongs to, and
/// the names of their classes.
pub(crate) fn say_weights(evaluation: &mut Evaluation, spec: &Spec, data: &Data, weights: &str) {
    let scope = &mut evaluation.scope;
    scope.classes = Some(data.manifest.classes.iter().map(|class| class.name.clone()).collect());
    scope.weights = Some(weights.to_owned());
    let chosen = weights == Weights::Best.name();
    let same = scope.split.as_deref() == Some(spec.data.validation_split.as_str());
    scope.selected_on_evaluated_split = chosen && same;
}

/// Where an evaluation stores its observations until it is finished.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a RunDirectory,
    /// Whether to delete an unfinished evaluation with other settings, rather than refuse.
    pub(crate) replaces_others: bool,
}

/// An evaluation and its duration in seconds, including the time before an interruption.
pub(crate) struct Measured {
    pub(crate) evaluated: Evaluated,
    pub(crate) seconds: f64,
}

/// Evaluates `subject` on `dataset`, a split of `data`, as `spec` says. Resumes the evaluation in
/// `place`, if there is one.
///
/// # Errors
/// [`Interrupted`] if `stop` was set and the observations are saved, [`NotSaved`] if there is no
/// `place`.
pub(crate) fn measure(
    subject: Subject<'_>,
    dataset: &Dataset,
    spec: &Spec,
    data: &Data,
    place: Option<Place<'_>>,
    stop: &AtomicBool,
    observer: &mut RunObserver,
) -> anyhow::Result<Measured> {
    let (config, start, ranks) = (&spec.evaluation, Instant::now(), ranks::current());
    let mut progress = |advance| observer.evaluation(advance);
    let Some(Place { directory, replaces_others }) = place else {
        return match evaluate_among(&*ranks, None, subject, dataset, config, stop, &mut progress) {
            // Rank 0 has saved it.
            Err(Error::Interrupted) if !ranks.is_first() => Err(Interrupted.into()),
            Err(Error::Interrupted) => Err(NotSaved.into()),
            evaluated => Ok(Measured { evaluated: evaluated?, seconds: start.elapsed().as_secs_f64() }),
        };
    };
    let folder = directory.file(UNFINISHED);
    let identity = identity::of_scores(spec, data);
    let mut journal = match Journal::open(&folder, &identity, subject, dataset, config) {
        Err(Error::OtherEvaluation { what, .. }) if replaces_others => {
            warn!("the unfinished evaluation had other {what}; evaluating from the first image");
            Journal::remove(&folder)?;
            Journal::open(&folder, &identity, subject, dataset, config)?
        }
        opened => opened?,
    };
    if journal.images() > 0 {
        info!("continuing the evaluation after {}", counted(journal.images(), "image"));
    }
    match evaluate_among(&*ranks, Some(&mut journal), subject, dataset, config, stop, &mut progress) {
        Err(Error::Interrupted) => Err(Interrupted.into()),
        evaluated => Ok(Measured { evaluated: evaluated?, seconds: journal.seconds() }),
    }
}
