//! The processes of one run: they join, agree on what they do, and end together.

use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::Duration;

use robustseg_ranks::{Communicator, Launch, Ranks, Solo, mpi};
use robustseg_training::Identity;
use tracing::info;

use crate::exit::{BadData, Elsewhere, Exit, Usage};
use crate::log;

/// The other processes, once this one has joined them.
static JOINED: OnceLock<Ranks> = OnceLock::new();

/// How long a process that failed waits for the others to fail too.
const PATIENCE: Duration = Duration::from_secs(2);

/// The processes of this run: those that [`join`] found, or this one alone.
pub(crate) fn current() -> Ranks {
    JOINED.get().cloned().unwrap_or_else(|| Arc::new(Solo))
}

/// Joins the processes that a launcher started together. Those other than rank 0 log nothing.
///
/// # Errors
/// [`Usage`] if there is no MPI, or it does not connect the processes.
pub(crate) fn join() -> anyhow::Result<()> {
    let launch = Launch::of_this_process();
    let ranks = mpi::start(&launch)?;
    JOINED.get_or_init(|| Arc::clone(&ranks));
    if !ranks.is_first() {
        log::be_quiet();
    }
    let size = ranks.size();
    let mut threads = available_parallelism().map_or(1, usize::from);
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        threads = launch.threads(threads, processors().unwrap_or(threads));
        // Opening the device makes them otherwise, and reports why it cannot.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    info!("{size} processes, {} threads each", rayon::current_num_threads());
    Ok(())
}

/// The processors of this machine, whether this process may use them or not.
fn processors() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(text.lines().filter(|line| line.starts_with("processor")).count()).filter(|count| *count > 0)
}

/// Does `work` on rank 0 and returns its result there. If it fails there, it fails on all ranks with
/// the same status.
pub(crate) fn on_first<T>(
    ranks: &dyn Communicator,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let done = ranks.is_first().then(work);
    let status = match &done {
        Some(Err(error)) => Exit::of(error) as u8,
        _ => 0,
    };
    let status = ranks.broadcast(&[status])?;
    match done {
        Some(done) => done.map(Some),
        None => match status.first().map(|status| Exit::of_status(*status)) {
            Some(Exit::Done) => Ok(None),
            exit => Err(Elsewhere(exit.unwrap_or(Exit::Other)).into()),
        },
    }
}

/// What has to be the same on all ranks.
pub(crate) struct Agreement<'a> {
    /// The resolved spec.
    pub(crate) spec: &'a str,
    /// All that decides the result.
    pub(crate) identity: &'a Identity,
}

impl Agreement<'_> {
    /// Refuses ranks with another program, spec or data than rank 0.
    ///
    /// # Errors
    /// The same on all ranks: [`Usage`] or [`BadData`] with the first difference.
    pub(crate) fn require(&self, ranks: &dyn Communicator) -> anyhow::Result<()> {
        let program = [env!("CARGO_PKG_VERSION"), option_env!("ROBUSTSEG_COMMIT").unwrap_or_default()];
        let own = serde_json::to_vec(&(program.join(" "), self.spec, self.identity))?;
        let all = ranks.gather(&own)?;
        let read = |bytes: &[u8]| serde_json::from_slice::<(String, String, Identity)>(bytes);
        let first = read(&all[0]);
        let Some(rank) = all.iter().position(|bytes| *bytes != all[0]) else { return Ok(()) };
        let who = format!("process {rank} of {}", ranks.size());
        // Another program may write another agreement.
        let (Ok((program, spec, identity)), Ok(first)) = (read(&all[rank]), &first) else {
            return Err(Usage(format!("{who} is another robustseg than process 0")).into());
        };
        if program != first.0 {
            let text = format!("{who} is robustseg {program}, process 0 is {}; start the same one", first.0);
            return Err(Usage(text).into());
        }
        if spec != first.1 {
            let (own, other) = different_lines(&first.1, &spec);
            let text = format!(
                "{who} has another spec than process 0: `{other}` where that has `{own}`; give all the same"
            );
            return Err(Usage(text).into());
        }
        let differences = first.2.differences(&identity);
        let text = format!("{who} has other data than process 0: {differences}; give all the same files");
        Err(BadData(text).into())
    }
}

/// The first lines in which two texts differ.
fn different_lines<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let (mut ours, mut theirs) = (a.lines(), b.lines());
    loop {
        match (ours.next(), theirs.next()) {
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return ("", ""),
            (a, b) => return (a.unwrap_or_default().trim(), b.unwrap_or_default().trim()),
        }
    }
}

/// Ends this process's part of the run with `exit`. `speak` tells the user of an error.
///
/// If all processes fail, rank 0 alone speaks. If this one alone does, it speaks and ends the others
/// with its status, because they may wait for it forever.
pub(crate) fn end(exit: Exit, speak: impl Fn(&str)) {
    let Some(ranks) = JOINED.get() else {
        if exit != Exit::Done {
            speak("");
        }
        return;
    };
    let failed = exit != Exit::Done;
    let who = format!("process {} of {}: ", ranks.rank(), ranks.size());
    if failed && ranks.is_first() {
        speak("");
    }
    let patience = if failed { PATIENCE } else { Duration::MAX };
    match ranks.leave(failed, patience) {
        Some(first_failed) if first_failed || !failed => {}
        Some(_) => speak(&who),
        None => {
            if !ranks.is_first() {
                speak(&who);
            }
            ranks.abort(exit as i32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use robustseg_ranks::threads;
    use serde_json::Value;

    #[test]
    fn another_spec_or_other_data_is_refused_by_all() {
        for (spec, data, status) in [("a: 1\nb: 2", "x", None), ("a: 1\nb: 3", "x", Some(Exit::Usage))]
            .into_iter()
            .chain([("a: 1\nb: 2", "y", Some(Exit::Data))])
        {
            let ranks = threads(2).into_iter().map(|ranks| {
                std::thread::spawn(move || {
                    let (spec, data) = if ranks.is_first() { ("a: 1\nb: 2", "x") } else { (spec, data) };
                    let mut identity = Identity::default();
                    identity.set("data", &Value::from(data));
                    Agreement { spec, identity: &identity }.require(&*ranks)
                })
            });
            for outcome in ranks.collect::<Vec<_>>() {
                let outcome = outcome.join().expect("a rank");
                assert_eq!(outcome.as_ref().err().map(Exit::of), status, "{outcome:?}");
                if let Err(error) = outcome {
                    assert!(
                        error.to_string().starts_with("process 1 of 2 has other data")
                            || error.to_string().contains("`b: 3` where that has `b: 2`"),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_fails_on_rank_0_fails_everywhere_with_its_status() {
        let ranks = threads(2).into_iter().map(|ranks| {
            std::thread::spawn(move || {
                on_first(&*ranks, || anyhow::Result::<()>::Err(BadData("x".into()).into()))
            })
        });
        for outcome in ranks.collect::<Vec<_>>() {
            assert_eq!(Exit::of(&outcome.join().expect("a rank").unwrap_err()), Exit::Data);
        }
    }
}
