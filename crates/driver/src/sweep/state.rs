//! How far a run of a sweep is.

use super::{Series, is_begun};
use crate::lock::Lock;
use crate::records::{Outcome, read_json};
use crate::run_directory::UNFINISHED;
use crate::spec::{Member, Spec};

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// Trained, evaluated and reported.
    Done,
    /// A process is at work.
    Running,
    /// Finished with another spec than the sweep's.
    Changed,
    /// Begun, to be resumed.
    Interrupted,
    /// Ended with this exit status and error.
    Failed(u8, String),
    /// Not begun.
    Waiting,
}

impl State {
    /// The state in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Changed => "changed",
            Self::Interrupted => "interrupted",
            Self::Failed(..) => "failed",
            Self::Waiting => "waiting",
        }
    }
}

impl Series {
    /// The state of the run `member`.
    ///
    /// # Errors
    /// If a file of its folder is damaged.
    pub(crate) fn state(&self, member: &Member) -> anyhow::Result<State> {
        let run = self.run(&member.name);
        if Lock::is_held(&run) {
            return Ok(State::Running);
        }
        let outcome: Option<Outcome> = read_json(&self.outcome(&member.name))?;
        let status = outcome.as_ref().map(|outcome| outcome.status);
        let reported = run.join("report.html").is_file() && !run.join(UNFINISHED).exists();
        if reported && matches!(status, None | Some(Some(0))) {
            let ran = Spec::read(&run.join("spec.yaml"), &[]);
            let same = ran.is_ok_and(|ran| is_same(ran, &member.spec));
            return Ok(if same { State::Done } else { State::Changed });
        }
        Ok(match outcome {
            Some(Outcome { status: Some(status), error, .. }) if status != 0 && status != 5 => {
                State::Failed(status, error.unwrap_or_default())
            }
            _ if is_begun(&run) => State::Interrupted,
            _ => State::Waiting,
        })
    }
}

/// Whether a run with the resolved spec `ran` is one of `wanted`. Its name decides nothing, its device
/// may be a choice of the command line, and the memory of the machine may have decided on the parts
/// of a batch.
fn is_same(mut ran: Spec, wanted: &Spec) -> bool {
    ran.name.clone_from(&wanted.name);
    ran.device = wanted.device;
    if wanted.training.fit_memory {
        ran.training.accumulate = wanted.training.accumulate;
    }
    ran == *wanted
}
