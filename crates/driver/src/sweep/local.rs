//! Runs the members of a sweep as processes of this machine.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::Context;
use robustseg_files::create_folders;
use tracing::{info, warn};

use super::command::Way;
use super::{Series, State};
use crate::device::DeviceChoice;
use crate::interrupt::stop_flag;
use crate::records::{Outcome, read_json};
use crate::spec::Member;

/// The variable with the number of threads of a run.
const THREADS: &str = "RAYON_NUM_THREADS";

/// How members run here.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// Runs at a time.
    pub(crate) jobs: usize,
    /// The devices, one for each job in turn. Empty for the specs' choices.
    pub(crate) devices: Vec<DeviceChoice>,
    /// How each run starts.
    pub(crate) way: Way,
    /// Whether runs write to this process's output instead of log files.
    pub(crate) shown: bool,
}

/// A run at work.
struct AtWork<'a> {
    member: &'a Member,
    child: Child,
}

impl Local {
    /// Runs all of `series` that is neither finished nor running elsewhere. A failure does not stop
    /// the others. Returns whether it was interrupted.
    ///
    /// # Errors
    /// If a process cannot be started, or a file of the sweep cannot be read or written.
    pub(crate) fn run(&self, series: &Series) -> anyhow::Result<bool> {
        let stop = stop_flag(1)?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut queue: VecDeque<&Member> = series.members.iter().collect();
        let mut slots: Vec<Option<AtWork<'_>>> = (0..self.jobs).map(|_| None).collect();
        let (mut stopping, mut told) = (false, HashSet::new());
        loop {
            if stop.load(Ordering::Relaxed) && !stopping {
                stopping = true;
                queue.clear();
                info!("interrupted; waiting for the runs to save their states");
                slots.iter().flatten().for_each(|at_work| ask_to_stop(&at_work.child));
            }
            for (slot, at_work) in slots.iter_mut().enumerate() {
                if let Some(AtWork { member, child }) = at_work {
                    let Some(status) = child.try_wait().context("waiting for a run")? else { continue };
                    self.ended(series, member, status, &mut told)?;
                    *at_work = None;
                }
                *at_work = self.next(series, &mut queue, slot, &program)?;
            }
            if queue.is_empty() && slots.iter().all(Option::is_none) {
                return Ok(stopping);
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Starts the next run of the `queue` that needs it.
    fn next<'a>(
        &self,
        series: &Series,
        queue: &mut VecDeque<&'a Member>,
        slot: usize,
        program: &PathBuf,
    ) -> anyhow::Result<Option<AtWork<'a>>> {
        while let Some(member) = queue.pop_front() {
            let place = series.members.len() - queue.len();
            let name = &member.name;
            match series.state(member)? {
                State::Done if !self.way.overwrite => info!("{name} is finished"),
                State::Running => info!("{name} is at work in another process"),
                _ => {
                    info!("{name} starts, {place} of {}", series.members.len());
                    let child = self.start(series, name, slot, program)?;
                    return Ok(Some(AtWork { member, child }));
                }
            }
        }
        Ok(None)
    }

    fn start(&self, series: &Series, name: &str, slot: usize, program: &PathBuf) -> anyhow::Result<Child> {
        let device = self.devices.get(slot % self.devices.len().max(1)).copied();
        let mut command = Command::new(program);
        command.args(series.arguments(name, Way { device, ..self.way })).stdin(Stdio::null());
        if self.jobs > 1 && std::env::var_os(THREADS).is_none() {
            let cores = available_parallelism().map_or(1, usize::from);
            command.env(THREADS, (cores / self.jobs).max(1).to_string());
        }
        if !self.shown {
            let path = series.log(name);
            let folder = path.parent().unwrap_or(&path);
            create_folders(folder).with_context(|| format!("making {}", folder.display()))?;
            let log = File::options().create(true).append(true).open(&path);
            let log = log.with_context(|| format!("opening {}", path.display()))?;
            command.stdout(log.try_clone().context("opening a log")?).stderr(log);
        }
        // A signal of the terminal reaches this process alone, which asks the runs once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().with_context(|| format!("starting {}", program.display()))
    }

    /// Tells how a run ended. A process that could not leave its outcome gets one. Errors that were
    /// `told`, such as that of missing data, are not repeated.
    fn ended(
        &self,
        series: &Series,
        member: &Member,
        status: ExitStatus,
        told: &mut HashSet<String>,
    ) -> anyhow::Result<()> {
        let name = &member.name;
        if status.success() {
            info!("{name} is done");
            return Ok(());
        }
        let path = series.outcome(name);
        let known: Option<Outcome> = read_json(&path)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let outcome = match known {
            Some(outcome) if outcome.status.is_some() && outcome.status == code => outcome,
            _ => {
                let outcome =
                    Outcome::now(Some(code.unwrap_or(1)), Some(format!("the process ended: {status}")));
                outcome.write(&path)?;
                outcome
            }
        };
        let error = outcome.error.unwrap_or_default();
        match outcome.status {
            Some(5) => info!("{name} is interrupted, and its state is saved"),
            _ if self.shown => warn!("{name} failed"),
            _ if told.contains(&error) => warn!("{name} failed with the same error as an earlier run"),
            _ => {
                warn!("{name} failed: {error}; its log is {}", series.log(name).display());
                told.insert(error);
            }
        }
        Ok(())
    }
}

/// Asks a run to save its state and to end. A repeated SIGUSR1 ends nothing at once.
fn ask_to_stop(child: &Child) {
    // The shell has `kill` even where no program of that name is installed.
    let kill = format!("kill -USR1 {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status();
    if !sent.is_ok_and(|status| status.success()) {
        warn!("process {} could not be asked to stop", child.id());
    }
}
