//! `robustseg run`: trains, evaluates and reports.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use candle_core::Device;
use clap::Args;
use robustseg_evaluation::{Journal, Subject, Weights};
use robustseg_models::{Checkpoint, Network, Origin};
use robustseg_ranks::Communicator;
use robustseg_training::{Error as TrainingError, Identity, Observer, Outcome, Trainer};

use super::evaluate::{self, Measured, Place};
use super::seeds::{self, Seeds};
use super::{SpecArguments, told};
use crate::device::{DeviceChoice, describe};
use crate::exit::{BadData, Interrupted};
use crate::inputs::Inputs;
use crate::interrupt::stop_flag;
use crate::log;
use crate::observer::RunObserver;
use crate::plan::Plan;
use crate::provenance::{CheckpointProvenance, Invocation, Provenance};
use crate::ranks::{self, Agreement, on_first};
use crate::records::{EventLog, RunTiming, samples};
use crate::results;
use crate::run_directory::{RunDirectory, Start, UNFINISHED, default_path};
use crate::spec::{Layered, Spec};
use crate::sweep::{Changes, Local, Overview, Way};
use crate::{check_cache, identity, same_result};

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg run experiments/smoke.yaml
  robustseg run spec.yaml --set training.epochs=2 --out runs/short
  robustseg run spec.yaml --resume
  mpirun -n 4 robustseg run spec.yaml --distributed";

/// Arguments of `run`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    spec: SpecArguments,
    /// The run directory [default: runs/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continues an interrupted run of the same spec.
    #[arg(long)]
    resume: bool,
    /// Starts over in place of a run, finished or not, and deletes it.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// If the last saved state is damaged, resumes from the one before it.
    #[arg(long, requires = "resume")]
    fall_back: bool,
    /// Runs the spec once for each of these seeds, such as 0..2 for 0, 1 and 2, or 3,5, each in
    /// the folder seed-N of the run directory, and compares the runs in its folder compare.
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,
    /// Writes how the run ended to this file: exit status and error, as JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    outcome: Option<PathBuf>,
    /// Device to compute on, instead of the spec's choice: auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Takes part in a run of several processes, which mpirun or srun --mpi=pmix starts.
    #[arg(long, conflicts_with_all = ["seeds", "outcome"])]
    distributed: bool,
}

impl Run {
    pub(crate) fn outcome(&self) -> Option<&Path> {
        self.outcome.as_deref()
    }

    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        if self.distributed {
            ranks::join()?;
        }
        let layered = self.spec.read()?;
        let path = self.out.clone().unwrap_or_else(|| default_path(&layered.spec.name));
        match &self.seeds {
            Some(seeds) => self.each(&layered, seeds, &path),
            None => self.one(&layered, &path),
        }
    }

    /// A sweep of one axis: a run for each of `seeds` in a folder of its own, and their comparison. A
    /// run that `--resume` finds finished stays unchanged.
    fn each(&self, layered: &Layered, seeds: &Seeds, path: &Path) -> anyhow::Result<()> {
        seeds::require_no_other(layered)?;
        let series = seeds::series(layered, seeds, path);
        if self.start() == Start::Fresh {
            seeds::require_new(&series)?;
        }
        drop(series.freeze(if self.overwrite { Changes::All } else { Changes::Harmless })?);
        let devices = self.device.into_iter().collect();
        let way = Way { overwrite: self.overwrite, fall_back: self.fall_back, device: None };
        if (Local { jobs: 1, devices, way, shown: true }).run(&series)? {
            return Err(Interrupted.into());
        }
        Overview::of(&series)?.require_done()?;
        for (comparison, page) in series.compare()? {
            println!("{}\nreport: {}", comparison.plain(), page.display());
        }
        Ok(())
    }

    /// The run of `layered` in the directory at `path`. Of several processes, rank 0 alone has the
    /// directory.
    fn one(&self, layered: &Layered, path: &Path) -> anyhow::Result<()> {
        let ranks = &*ranks::current();
        let mut spec = layered.spec.clone();
        spec.device = self.device.unwrap_or(spec.device);
        let former = if self.resume { former(ranks, path)? } else { None };
        let (plan, device) = Plan::prepare(spec, begun_parts(former.as_ref()))?;
        // Loaded again for the evaluation. A missing one is known before the training.
        plan.sources(&device)?;
        let mut provenance =
            plan.provenance(former.as_ref().and_then(|former| former.pretrained.as_ref()))?;
        let warnings = plan.warnings();
        provenance.data.warnings.clone_from(&warnings);
        Agreement { spec: &plan.spec.to_yaml()?, identity: &provenance.identity }.require(ranks)?;
        let directory = on_first(ranks, || {
            if self.overwrite {
                inputs(layered, &plan).require_outside(path)?;
            }
            if self.resume {
                same_result::require_same(path, &provenance, &plan.roles())?;
            }
            RunDirectory::open(path, &provenance.fingerprint, self.start())
        })?;
        if let Some(directory) = directory.as_ref().filter(|_| former.is_some()) {
            // The log must be open before the state is read, to record faults of the state.
            log::keep_in(&directory.file("run.log"));
        }
        let stop = stop_flag(ranks.size())?;
        let identity = provenance.identity.clone();
        let origin = plan.origin(&identity);
        // Nothing is written before this: a refused state leaves everything unchanged.
        let checkpoints = path.join("checkpoints");
        let mut trainer = self.trainer(&plan, &checkpoints, &identity, &device)?;
        if !self.resume {
            // A previous run is deleted only after this run is known to be able to start.
            plan.splits().try_for_each(|dataset| dataset.load(0).map(drop))?;
        }
        let start = trainer.steps_done();
        let log = on_first(ranks, || {
            let directory = directory.as_ref().context("rank 0 has the directory")?;
            if !self.resume {
                directory.clear()?;
            }
            begin(directory, provenance, former, &plan, &device)?;
            directory.checkpoints()?;
            EventLog::open(&directory.file("events.jsonl"), start)
        })?;
        // From here on `run.log` receives the log.
        let warnings = told(warnings);
        let mut observer = RunObserver::new(log);
        train(&mut trainer, &plan, &checkpoints, (&identity, &origin), &stop, &mut observer)?;

        let timing = trainer.timing();
        let last = checkpoints.join("last.safetensors");
        let average = checkpoints.join("average.safetensors");
        on_first(ranks, || {
            if !last.exists() {
                // For a finished run whose checkpoint was removed from the folder.
                trainer.network().save_with(&trainer.origin(&origin), &last)?;
            }
            if let Some(network) = trainer.averaged().filter(|_| !average.exists()) {
                network.save_with(&trainer.origin(&origin), &average)?;
            }
            Ok(())
        })?;
        let weights = plan.spec.evaluation.weights;
        let chosen = checkpoints.join(format!("{}.safetensors", weights.name()));
        let (network, checkpoint) = match weights {
            Weights::Last => {
                let checkpoint =
                    on_first(ranks, || Ok(CheckpointProvenance::of(&last, trainer.origin(&origin))?))?;
                (trainer.into_network(), checkpoint)
            }
            Weights::Best | Weights::Average => {
                let Checkpoint { mut network, origin } = trainer.load_shared(&chosen)?;
                let checkpoint = on_first(ranks, || Ok(CheckpointProvenance::of(&chosen, origin)?))?;
                drop(trainer);
                plan.spec.precision.set(&mut network, plan.spec.convolutions)?;
                (network, checkpoint)
            }
        };
        let place = directory.as_ref().map(|directory| Place { directory, replaces_others: true });
        let Plan { spec, data, evaluation, .. } = &plan;
        let sources = plan.sources(&device)?;
        let subject = Subject { network: &network, sources: &sources.networks };
        let Measured { mut evaluated, seconds } =
            evaluate::measure(subject, evaluation, spec, data, place, &stop, &mut observer)?;
        let (Some(directory), Some(checkpoint)) = (directory, checkpoint) else { return Ok(()) };
        sources.say(&mut evaluated.evaluation);
        evaluate::say_of(&mut evaluated.evaluation, &checkpoint);
        evaluate::say_weights(&mut evaluated.evaluation, spec, data, weights.name());
        observer.sync()?;
        let timing = RunTiming::new(spec.training.method.name(), describe(&device), timing, seconds);
        directory.write_json("timing.json", &timing)?;
        let report = results::write(&directory, &evaluated, &plan.data.manifest.classes)?;
        Journal::remove(&directory.file(UNFINISHED))?;
        results::print(&evaluated.evaluation, &checkpoint, &warnings);
        println!("report: {}", report.display());
        Ok(())
    }

    fn start(&self) -> Start {
        match (self.resume, self.overwrite) {
            (true, _) => Start::Resume,
            (_, true) => Start::Overwrite,
            _ => Start::Fresh,
        }
    }

    /// The training at its start, or at the saved state.
    fn trainer(
        &self,
        plan: &Plan,
        checkpoints: &Path,
        identity: &Identity,
        device: &Device,
    ) -> anyhow::Result<Trainer> {
        let (spec, ranks) = (&plan.spec, ranks::current());
        // The folder is not created yet: a directory without provenance must stay empty.
        let goes_on = ranks.any(self.resume && ranks.is_first() && Trainer::has_state(checkpoints))?;
        let mut network =
            if goes_on { Network::blank(&plan.model, device)? } else { plan.initial_network(device)? };
        spec.precision.set(&mut network, spec.convolutions)?;
        let mut trainer = Trainer::new(network, &spec.training, spec.seed, plan.total_steps)?;
        if spec.training.loss.needs_class_pixels()
            && let Some(pixels) = check_cache::class_pixels(&plan.data, plan.train.split())
        {
            trainer.set_class_pixels(&pixels);
        }
        trainer.distribute(ranks)?;
        if goes_on {
            let restored = if self.fall_back {
                trainer.restore_or_fall_back(checkpoints, identity)?
            } else {
                trainer.restore(checkpoints, identity).map_err(with_advice)?
            };
            ensure!(restored, "{}: the saved state is gone again", checkpoints.display());
        }
        Ok(trainer)
    }
}

/// The files and folders that a new run reads.
fn inputs(layered: &Layered, plan: &Plan) -> Inputs {
    let Plan { spec: Spec { data, model, training, evaluation, .. }, .. } = plan;
    let weights = [model.pretrained.as_deref().map(Path::new), training.from.as_deref()];
    let others = [data.root.as_deref(), data.cache.as_deref()].into_iter().chain(weights);
    let others = others.flatten().chain(evaluation.sources.values().map(PathBuf::as_path));
    Inputs::of(layered.files().chain([data.manifest.as_path()]).chain(others))
}

/// The provenance of the run in the directory at `path`, which rank 0 reads.
fn former(ranks: &dyn Communicator, path: &Path) -> anyhow::Result<Option<Provenance>> {
    let read = on_first(ranks, || Provenance::read(&path.join("provenance.json")))?.flatten();
    Ok(serde_json::from_slice(&ranks.broadcast(&serde_json::to_vec(&read)?)?)?)
}

/// The parts of a batch with which the run of the `former` provenance was begun.
fn begun_parts(former: Option<&Provenance>) -> Option<usize> {
    let identity = &former?.identity;
    Some(identity.get("training.accumulate").and_then(|parts| parts.parse().ok()).unwrap_or(1))
}

/// Records an invocation that starts the run in `directory`, or resumes that of the `former`
/// provenance.
fn begin(
    directory: &RunDirectory,
    mut provenance: Provenance,
    former: Option<Provenance>,
    plan: &Plan,
    device: &Device,
) -> anyhow::Result<()> {
    let mut invocation = Invocation::now(&describe(device));
    let continues = former.is_some();
    if let Some(former) = &former {
        // Compares with the spec as it was then. If it can no longer be read, it gives no
        // differences.
        let then = Spec::read(&directory.file("spec.yaml"), &[]).ok();
        let now = identity::of_spec(&plan.spec);
        invocation.changes = then.map_or_else(Vec::new, |then| identity::of_spec(&then).changes(&now));
        let (then, now) = (&former.data.manifest_sha256, &provenance.data.manifest_sha256);
        invocation.changes.extend(
            (then != now).then(|| format!("the manifest's file: SHA-256 {then} at first, {now} now")),
        );
    }
    provenance.invocations = vec![invocation];
    let provenance = match former {
        Some(former) => provenance.appended_to(former),
        None => provenance,
    };
    directory.write_json("provenance.json", &provenance)?;
    directory.write("spec.yaml", plan.spec.to_yaml()?.as_bytes())?;
    if !continues {
        // The provenance makes a directory a run directory.
        log::keep_in(&directory.file("run.log"));
    }
    samples::record_samples(directory, plan.roles().map(|(_, dataset)| dataset))
}

fn train(
    trainer: &mut Trainer,
    plan: &Plan,
    checkpoints: &Path,
    (identity, origin): (&Identity, &Origin),
    stop: &AtomicBool,
    observer: &mut RunObserver,
) -> anyhow::Result<()> {
    let run = robustseg_training::Run {
        train: &plan.train,
        validation: &plan.validation,
        checkpoints,
        identity,
        origin,
        stop,
        on_bad_sample: plan.spec.data.on_bad_sample,
    };
    match trainer.run(&run, observer)? {
        Outcome::Finished => Ok(()),
        Outcome::Interrupted => Err(Interrupted.into()),
    }
}

/// `error`, with the option that uses the previous state if there is one.
fn with_advice(error: TrainingError) -> anyhow::Error {
    match error {
        TrainingError::Resume { previous: Some(_), .. } => {
            BadData(format!("{error}; --resume --fall-back continues from it")).into()
        }
        other => other.into(),
    }
}
