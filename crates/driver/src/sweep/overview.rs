//! What is done, running, failed and waiting, for people and programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use robustseg_evaluation::Evaluation;
use robustseg_words::counted;
use serde::Serialize;

use super::{Series, State};
use crate::draw::table::{Cell, Table};
use crate::draw::time::duration;
use crate::exit::{Exit, RunsFailed};
use crate::records::{Progress, RunTiming, read_json};

/// A sweep at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Overview {
    name: String,
    folder: PathBuf,
    runs: Vec<Row>,
}

/// A run of a sweep at one moment.
#[derive(Clone, Debug, Serialize)]
struct Row {
    number: usize,
    name: String,
    /// The names of axes and values.
    values: BTreeMap<String, String>,
    folder: PathBuf,
    state: &'static str,
    /// The element of a job array that will run it, or does.
    job: Option<String>,
    steps: u64,
    total_steps: Option<u64>,
    /// Seconds of training and evaluation so far.
    seconds: f64,
    clean_miou: Option<f64>,
    worst_miou: Option<f64>,
    /// The exit status and error of a failed run.
    status: Option<u8>,
    error: Option<String>,
}

impl Overview {
    /// Reads the states of all runs of `series`.
    ///
    /// # Errors
    /// If a file of the sweep is damaged; the error names it.
    pub(crate) fn of(series: &Series) -> anyhow::Result<Self> {
        let queued = series.queued()?;
        let row = |(number, member): (usize, &crate::spec::Member)| {
            let folder = series.run(&member.name);
            let state = series.state(member)?;
            let queued = queued.get(&member.name).filter(|_| state != State::Done);
            let Progress { steps, total_steps, seconds } = Progress::read(&folder.join("events.jsonl"));
            let done = state == State::Done;
            let evaluation: Option<Evaluation> =
                if done { read_json(&folder.join("evaluation.json"))? } else { None };
            let timing: Option<RunTiming> = if done { read_json(&folder.join("timing.json"))? } else { None };
            let worst = evaluation.as_ref().and_then(|evaluation| evaluation.worst_case.last());
            let (status, error) = match &state {
                State::Failed(status, error) => (Some(*status), Some(error.clone())),
                _ => (None, None),
            };
            Ok(Row {
                number,
                name: member.name.clone(),
                values: member.values.iter().cloned().collect(),
                folder,
                state: match queued {
                    Some(queued) if queued.at_work => State::Running.name(),
                    Some(_) => "queued",
                    None => state.name(),
                },
                job: queued.map(|queued| queued.element.clone()),
                steps,
                total_steps,
                seconds: seconds + timing.map_or(0.0, |timing| timing.evaluation_seconds),
                worst_miou: worst.map(|point| point.scores.miou),
                clean_miou: evaluation.map(|evaluation| evaluation.clean.miou),
                status,
                error,
            })
        };
        let runs = (1..).zip(&series.members).map(row).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { name: series.name.clone(), folder: series.path.clone(), runs })
    }

    /// The numbers of runs that nobody has done, does or will do.
    pub(crate) fn open(&self) -> Vec<usize> {
        let is_open = |row: &&Row| !["done", "running", "queued"].contains(&row.state);
        self.runs.iter().filter(is_open).map(|row| row.number).collect()
    }

    /// Whether a run is done.
    pub(crate) fn is_any_done(&self) -> bool {
        self.count(State::Done.name()) > 0
    }

    /// The table, the failures, and the next step. `again` is the command that continues.
    pub(crate) fn print(&self, again: &str) {
        let columns = ["no", "run", "state", "steps", "time", "clean", "worst"];
        let title = format!("{} in {}: {}", self.name, self.folder.display(), self.counts());
        let mut table = Table::new(&title, columns);
        table.rows.extend(self.runs.iter().map(Row::cells));
        print!("{}", table.plain());
        for (row, others) in self.failures() {
            println!("{}", row.failure(others));
        }
        println!("{}", self.next_step(again));
    }

    /// The first run of each failure, and how many others failed with the same status and error.
    fn failures(&self) -> Vec<(&Row, usize)> {
        let mut failures: Vec<(&Row, usize)> = Vec::new();
        for row in self.runs.iter().filter(|row| row.state == "failed") {
            let alike =
                |(first, _): &&mut (&Row, usize)| (first.status, &first.error) == (row.status, &row.error);
            match failures.iter_mut().find(alike) {
                Some((_, others)) => *others += 1,
                None => failures.push((row, 0)),
            }
        }
        failures
    }

    /// How many runs are in which state.
    fn counts(&self) -> String {
        let mut told = vec![counted(self.runs.len() as u64, "run")];
        for state in ["done", "running", "queued", "interrupted", "failed", "changed", "waiting"] {
            let count = self.count(state);
            told.extend((count > 0).then(|| format!("{count} {state}")));
        }
        let done: Vec<f64> =
            self.runs.iter().filter(|row| row.state == "done").map(|row| row.seconds).collect();
        if !done.is_empty() {
            let mean = done.iter().sum::<f64>() / done.len() as f64;
            told.push(format!("{} per finished run", duration(mean)));
        }
        told.join(", ")
    }

    fn count(&self, state: &str) -> usize {
        self.runs.iter().filter(|row| row.state == state).count()
    }

    fn next_step(&self, again: &str) -> String {
        let changed = self.count("changed");
        match self.open().len() {
            0 if self.count("done") == self.runs.len() => {
                format!("next: every run is done; {again} --compare compares them")
            }
            0 => format!(
                "next: wait for the runs at work; {again} --status shows them, --compare compares what is done"
            ),
            _ if changed > 0 => format!(
                "next: {} finished with another spec; {again} --update evaluates them again",
                counted(changed as u64, "run")
            ),
            open => format!("next: {again} runs the open {}", counted(open as u64, "run")),
        }
    }

    /// # Errors
    /// If a run is not done: the failures with the exit status that they share.
    pub(crate) fn require_done(&self) -> anyhow::Result<()> {
        let failed: Vec<&Row> = self.runs.iter().filter(|row| row.state == "failed").collect();
        let done = self.count("done");
        if done == self.runs.len() {
            return Ok(());
        }
        let all = self.runs.len();
        let (exit, text) = if let Some(first) = failed.first() {
            let shared = failed.iter().all(|row| row.status == first.status);
            let exit = first.status.filter(|_| shared).map_or(Exit::Other, Exit::of_status);
            let names: Vec<&str> = failed.iter().take(5).map(|row| row.name.as_str()).collect();
            let more = if failed.len() > names.len() { ", ..." } else { "" };
            let names = names.join(", ");
            (
                exit,
                format!(
                    "{} of {all} runs failed ({names}{more}); the same command tries them again",
                    failed.len()
                ),
            )
        } else {
            (Exit::Other, format!("{done} of {all} runs are done; other processes work on the rest"))
        };
        Err(RunsFailed { exit, text }.into())
    }
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        let steps = match self.total_steps {
            Some(total) => format!("{}/{total}", self.steps),
            None => String::new(),
        };
        let state = self.job.as_ref().map_or(self.state.to_owned(), |job| format!("{} ({job})", self.state));
        let score =
            |score: Option<f64>| Cell::Text(score.map_or(String::new(), |score| format!("{score:.4}")));
        let time = if self.seconds > 0.0 { duration(self.seconds) } else { String::new() };
        let [state, steps, time] = [state, steps, time].map(Cell::Text);
        let number = Cell::Number(self.number as f64, 0);
        vec![
            number,
            Cell::text(&self.name),
            state,
            steps,
            time,
            score(self.clean_miou),
            score(self.worst_miou),
        ]
    }

    /// This run's failure, which it shares with so many `others`.
    fn failure(&self, others: usize) -> String {
        let status = self.status.map_or(String::new(), |status| format!(" with status {status}"));
        let others = match others {
            0 => String::new(),
            _ => format!(" and {others} more"),
        };
        format!("{}{others} failed{status}: {}", self.name, self.error.as_deref().unwrap_or_default())
    }
}
