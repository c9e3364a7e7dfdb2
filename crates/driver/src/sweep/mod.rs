//! Many runs in one folder: their specs, their states, those who run them, and their comparison.
//!
//! Each run is the command `robustseg run` with a spec of its own, which is written before the
//! first start. Any number of processes and machines may work on one folder, because a run's
//! directory says how far the run is and who is at work.

mod command;
mod comparison;
mod freeze;
mod local;
mod overview;
mod slurm;
mod state;

use std::path::{Path, PathBuf};

pub(crate) use command::{Way, shell_line};
pub(crate) use freeze::Changes;
pub(crate) use local::Local;
pub(crate) use overview::Overview;
pub(crate) use slurm::Slurm;
pub(crate) use state::State;

use crate::spec::{Member, OWN_FOLDER, Sweep};

/// The runs of a sweep in their folder.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) members: Vec<Member>,
}

impl Series {
    /// The runs of `sweep` in the folder at `path`.
    pub(crate) fn new(sweep: Sweep, path: PathBuf) -> Self {
        Self { name: sweep.name, path, members: sweep.members }
    }

    /// The same folder by its absolute path, for commands that start elsewhere.
    pub(crate) fn absolute(&self) -> std::io::Result<Self> {
        Ok(Self { path: std::path::absolute(&self.path)?, ..self.clone() })
    }

    /// The directory of the first run that has begun.
    pub(crate) fn begun(&self) -> Option<PathBuf> {
        self.members.iter().map(|member| self.run(&member.name)).find(|run| is_begun(run))
    }

    /// The directory of a run.
    fn run(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder of everything that is no run.
    fn own(&self) -> PathBuf {
        self.path.join(OWN_FOLDER)
    }

    fn spec(&self, name: &str) -> PathBuf {
        self.own().join("specs").join(format!("{name}.yaml"))
    }

    pub(crate) fn outcome(&self, name: &str) -> PathBuf {
        self.own().join("outcomes").join(format!("{name}.json"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.own().join("logs").join(format!("{name}.log"))
    }
}

/// Whether a run was begun in the directory at `path`.
fn is_begun(path: &Path) -> bool {
    path.join("provenance.json").is_file()
}
