//! `robustseg run`: trains, evaluates and reports.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::ensure;
use candle_core::Device;
use clap::Args;
use robustseg_models::{PspNet, pretrained};
use robustseg_training::{Journal, Observer, Outcome, Trainer};
use tracing::info;

use super::evaluate::{self, Measured, Place};
use super::{SpecArguments, told};
use crate::device::{DeviceChoice, describe};
use crate::event_log::EventLog;
use crate::exit::Interrupted;
use crate::interrupt::stop_flag;
use crate::log;
use crate::observer::RunObserver;
use crate::outputs::Inputs;
use crate::plan::Plan;
use crate::provenance::{Invocation, Provenance};
use crate::results;
use crate::run_directory::{RunDirectory, Start, UNFINISHED, default_path};
use crate::run_timing::RunTiming;
use crate::spec::Spec;

/// Arguments of `run`.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    spec: SpecArguments,
    /// The run directory [default: runs/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continues an interrupted run of the same spec.
    #[arg(long)]
    resume: bool,
    /// Starts over where a run is, finished or not, and deletes that run.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// If the last saved state is damaged, goes on from the one before it.
    #[arg(long, requires = "resume")]
    fall_back: bool,
    /// Where to compute, instead of the spec's choice: auto, cpu, cuda or cuda:N.
    #[arg(long)]
    device: Option<DeviceChoice>,
}

impl Run {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let mut spec = self.spec.read()?;
        spec.device = self.device.unwrap_or(spec.device);
        let device = spec.device.open()?;
        let plan = Plan::new(spec)?;
        plan.require_disjoint()?;
        if device.is_cpu() {
            plan.require_memory()?;
        }
        let path = self.out.clone().unwrap_or_else(|| default_path(&plan.spec.name));
        let mut provenance = Provenance::of(&plan.spec, &plan.data, plan.splits());
        if self.overwrite {
            inputs(&self.spec, &plan).require_outside(&path)?;
        }
        let directory = RunDirectory::open(&path, &provenance.fingerprint, self.start())?;
        let stop = stop_flag()?;
        let mut trainer = self.trainer(&plan, &directory, &provenance.fingerprint, &device)?;
        if self.resume {
            let former = Provenance::read(&directory.file("provenance.json"))?;
            provenance.invocations = former.map(|former| former.invocations).unwrap_or_default();
        } else {
            // Nothing of a former run goes before this one is known to be able to start.
            plan.splits().try_for_each(|dataset| dataset.load(0).map(drop))?;
            directory.clear()?;
        }
        provenance.data.warnings = told(plan.warnings());
        provenance.invocations.push(Invocation::now(&describe(&device)));
        directory.write_json("provenance.json", &provenance)?;
        directory.write("spec.yaml", plan.spec.to_yaml()?.as_bytes())?;
        // A directory is a run's from its provenance on.
        log::keep_in(&directory.file("run.log"));

        let log = EventLog::open(&directory.file("events.jsonl"), trainer.steps_done())?;
        let mut observer = RunObserver::new(Some(log));
        train(&mut trainer, &plan, &directory, &provenance.fingerprint, &stop, &mut observer)?;

        // The paper evaluates the weights at the end of training, not the best ones on the way.
        let timing = trainer.timing();
        let network = trainer.into_network();
        let place = Some(Place { directory: &directory, replaces_others: true });
        let Plan { spec, data, evaluation, .. } = &plan;
        let Measured { evaluated, seconds } =
            evaluate::measure(&network, evaluation, spec, data, place, &stop, &mut observer)?;
        observer.sync()?;
        let timing = RunTiming::new(spec.training.method.name(), describe(&device), timing, seconds);
        directory.write_json("timing.json", &timing)?;
        let report = results::write(&directory, &evaluated, &plan.data.manifest.classes)?;
        Journal::remove(&directory.file(UNFINISHED))?;
        results::print(&evaluated.evaluation, &provenance.data.warnings);
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

    /// The training at its start, or where the saved state is.
    fn trainer(
        &self,
        plan: &Plan,
        directory: &RunDirectory,
        fingerprint: &str,
        device: &Device,
    ) -> anyhow::Result<Trainer> {
        let spec = &plan.spec;
        // Not made yet: a directory without provenance must stay empty.
        let checkpoints = directory.file("checkpoints");
        let goes_on = self.resume && Trainer::has_state(&checkpoints);
        let mut network = if goes_on {
            PspNet::blank(&plan.model, device)?
        } else {
            PspNet::new(&plan.model, spec.seed, device)?
        };
        spec.precision.set(&mut network, spec.convolutions)?;
        let mut trainer = Trainer::new(network, &spec.training, spec.seed, plan.total_steps)?;
        if goes_on {
            let restored = if self.fall_back {
                trainer.restore_or_fall_back(&checkpoints, fingerprint)?
            } else {
                trainer.restore(&checkpoints, fingerprint)?
            };
            ensure!(restored, "{}: the saved state is gone again", checkpoints.display());
        } else if let Some(source) = &spec.model.pretrained {
            let file = pretrained::resolve(source)?;
            let taken = trainer.network().load_backbone(&file)?;
            info!("pretrained weights {}: {taken}; all other weights are random", file.display());
        }
        Ok(trainer)
    }
}

/// The files and folders that a run from the start reads.
fn inputs(spec: &SpecArguments, plan: &Plan) -> Inputs {
    let Plan { spec: Spec { data, model, .. }, .. } = plan;
    let others = [data.root.as_deref(), data.cache.as_deref(), model.pretrained.as_deref().map(Path::new)];
    Inputs::of([spec.path(), &data.manifest].into_iter().chain(others.into_iter().flatten()))
}

fn train(
    trainer: &mut Trainer,
    plan: &Plan,
    directory: &RunDirectory,
    fingerprint: &str,
    stop: &AtomicBool,
    observer: &mut RunObserver,
) -> anyhow::Result<()> {
    let checkpoints = directory.checkpoints()?;
    let run = robustseg_training::Run {
        train: &plan.train,
        validation: &plan.validation,
        checkpoints: &checkpoints,
        fingerprint,
        stop,
        on_bad_sample: plan.spec.data.on_bad_sample,
    };
    match trainer.run(&run, observer)? {
        Outcome::Finished => Ok(()),
        Outcome::Interrupted => Err(Interrupted.into()),
    }
}
