//! `robustseg sweep`: many runs of a grid.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing::info;

use crate::device::DeviceChoice;
use crate::exit::{Interrupted, Usage};
use crate::run_directory::default_path;
use crate::spec::Sweep as Grid;
use crate::sweep::{Changes, Local, Overview, Series, Slurm, Way, shell_line};

/// The examples of `--help`.
const EXAMPLES: &str = "\
Examples:
  robustseg sweep experiments/synthetic_sweep.yaml
  robustseg sweep experiments/study.yaml --jobs 2 --set training.epochs=1 --out runs/try
  robustseg sweep experiments/study.yaml --status
  robustseg sweep experiments/study.yaml --compare
  robustseg sweep experiments/study.yaml --device cuda:0,cuda:1
  robustseg sweep experiments/study.yaml --on slurm -- --partition=gpu --gres=gpu:1 --time=8:00:00
  robustseg sweep experiments/study.yaml --on list";

/// Arguments of `sweep`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sweep {
    /// The sweep, a YAML file with a grid of runs.
    #[arg(value_name = "SWEEP")]
    file: PathBuf,
    /// Replaces a value in the spec of every run, for example --set training.epochs=3; may be
    /// repeated.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// The folder of the runs [default: runs/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Who runs the open runs: those that are neither finished, nor at work, nor queued.
    #[arg(long, value_enum, default_value_t = On::Local)]
    on: On,
    /// Runs at a time [default: one for each device, or one; Slurm's own limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Device of the runs, instead of their specs' choices. With several, separated by commas, each
    /// has a run at a time.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<DeviceChoice>,
    /// Takes changes that decide no weight from the sweep into runs that have begun, and evaluates
    /// finished ones again.
    #[arg(long)]
    update: bool,
    /// Shows the state of every run, and changes nothing.
    #[arg(long, conflicts_with_all = ["update", "compare", "device", "jobs"])]
    status: bool,
    /// Compares the finished runs, and starts none.
    #[arg(long, conflicts_with_all = ["update", "device", "jobs"])]
    compare: bool,
    /// With --status, prints JSON.
    #[arg(long, requires = "status")]
    json: bool,
    /// With --on slurm, prints the script instead of submitting it.
    #[arg(long)]
    dry_run: bool,
    /// Options of sbatch, with --on slurm.
    #[arg(last = true, value_name = "SBATCH_OPTION")]
    options: Vec<String>,
}

/// Who runs a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// Processes of this machine.
    Local,
    /// A job array of Slurm.
    Slurm,
    /// Anybody: prints the command of each open run, one in a line.
    List,
}

impl Sweep {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        self.check()?;
        let grid = Grid::read(&self.file, &self.overrides)?;
        let path = self.out.clone().unwrap_or_else(|| default_path(&grid.name));
        let series = Series::new(grid, path);
        if self.status {
            let overview = Overview::of(&series)?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&overview)?);
            } else {
                overview.print(&self.again());
            }
            return Ok(());
        }
        if self.compare {
            return self.report(&series);
        }
        match self.on {
            On::Local => self.local(&series),
            On::Slurm => self.slurm(&series.absolute()?),
            On::List => self.list(&series.absolute()?),
        }
    }

    /// Refuses options of another runner.
    fn check(&self) -> Result<(), Usage> {
        let refuse = |text: &str| Err(Usage(text.into()));
        if self.on != On::Slurm && (self.dry_run || !self.options.is_empty()) {
            return refuse("--dry-run and options of sbatch go with --on slurm");
        }
        if self.on != On::Local && self.device.len() > 1 {
            return refuse("several devices go with --on local; other runners choose a device for each run");
        }
        if self.on == On::List && self.jobs.is_some() {
            return refuse("--jobs goes with --on local and --on slurm; with --on list the runner decides");
        }
        Ok(())
    }

    fn changes(&self) -> Changes {
        if self.update { Changes::Harmless } else { Changes::Refused }
    }

    fn local(&self, series: &Series) -> anyhow::Result<()> {
        drop(series.freeze(self.changes())?);
        let jobs = self.jobs.map_or(self.device.len().max(1), usize::from);
        let local = Local { jobs, devices: self.device.clone(), way: Way::default(), shown: false };
        let interrupted = local.run(series)?;
        let overview = Overview::of(series)?;
        overview.print(&self.again());
        if interrupted {
            return Err(Interrupted.into());
        }
        if overview.is_any_done() {
            self.report(series)?;
        }
        overview.require_done()
    }

    fn slurm(&self, series: &Series) -> anyhow::Result<()> {
        let device = self.device.first().copied();
        let slurm = Slurm { jobs: self.jobs.map(usize::from), device, options: self.options.clone() };
        let _lock = series.freeze(self.changes())?;
        let overview = Overview::of(series)?;
        let open = overview.open();
        if self.dry_run {
            let program = std::env::current_exe()?;
            print!("{}", slurm.script(series, &program, &open));
        } else if open.is_empty() {
            overview.print(&self.again());
        } else {
            let (script, job) = slurm.submit(series, &open)?;
            info!("submitted {}", script.display());
            println!("job {job} with {} runs; {} --status shows them", open.len(), self.again());
        }
        Ok(())
    }

    fn list(&self, series: &Series) -> anyhow::Result<()> {
        drop(series.freeze(self.changes())?);
        let program = std::env::current_exe()?;
        let way = Way { device: self.device.first().copied(), ..Way::default() };
        for number in Overview::of(series)?.open() {
            println!("{}", shell_line(&program, &series.arguments(&series.members[number - 1].name, way)));
        }
        Ok(())
    }

    /// Compares the finished runs.
    fn report(&self, series: &Series) -> anyhow::Result<()> {
        let written = series.compare()?;
        if written.is_empty() {
            return Err(Usage(format!("no run is finished; {} starts them", self.again())).into());
        }
        for (comparison, path) in written {
            println!(
                "{}\nreport of {} of {} runs: {}",
                comparison.message(),
                comparison.runs.len(),
                series.members.len(),
                path.display()
            );
        }
        Ok(())
    }

    /// The beginning of the command for continuing this sweep.
    fn again(&self) -> String {
        let mut words = vec!["sweep".to_owned(), self.file.to_string_lossy().into_owned()];
        words.extend(self.overrides.iter().flat_map(|value| ["--set".to_owned(), value.clone()]));
        if let Some(out) = &self.out {
            words.extend(["--out".to_owned(), out.to_string_lossy().into_owned()]);
        }
        shell_line("robustseg".as_ref(), &words)
    }
}
