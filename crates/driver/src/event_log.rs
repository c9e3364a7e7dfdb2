//! `events.jsonl`: one JSON object a line for everything that happened in a run.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use robustseg_files::write_atomically;
use robustseg_training::Event;
use serde_json::Value;

/// An open event log. `time_s` counts the run's own seconds, interruptions left out.
pub struct EventLog {
    path: PathBuf,
    file: File,
    start: Instant,
    before: f64,
}

impl EventLog {
    /// Opens the log of a run whose next step is `step`. What an earlier invocation wrote beyond that step, because it
    /// was killed after its last saved state, is dropped, and so is a line that was torn by a crash.
    pub fn open(path: &Path, step: u64) -> anyhow::Result<Self> {
        let old = match std::fs::read(path) {
            Ok(old) => old,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let old = String::from_utf8_lossy(&old);
        let kept = old.lines().filter_map(|line| serde_json::from_str(line).ok());
        let kept: Vec<Value> = kept.filter(|event| happened(event, step)).collect();
        let before = kept.iter().filter_map(|event| event["time_s"].as_f64()).fold(0.0, f64::max);
        let mut text: Vec<u8> = Vec::new();
        for event in &kept {
            writeln!(text, "{event}")?;
        }
        write_atomically(path, &text).with_context(|| format!("writing {}", path.display()))?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, start: Instant::now(), before })
    }

    /// Appends `event` with the time.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut object = serde_json::to_value(event).expect("events are plain data");
        object["time_s"] = (self.before + self.start.elapsed().as_secs_f64()).into();
        // One write a line: a crash tears the last line at most.
        let written = self.file.write_all(format!("{object}\n").as_bytes());
        written.map_err(|source| self.error(&source))
    }

    /// Waits until all that was appended is on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(|source| self.error(&source))
    }

    fn error(&self, source: &io::Error) -> io::Error {
        io::Error::new(source.kind(), format!("writing {}: {source}", self.path.display()))
    }
}

/// Whether `event` belongs to a run of which `step` steps are done.
fn happened(event: &Value, step: u64) -> bool {
    let at = event["step"].as_u64().unwrap_or(0);
    if event["kind"] == "step" || event["kind"] == "step_skipped" {
        at < step
    } else {
        at <= step && step > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_resumed_log_goes_on_where_the_saved_state_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::open(&path, 0).unwrap();
        for step in 1..5 {
            log.append(&Event::Checkpoint { step, epoch: 0 }).unwrap();
        }
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"kind": "step", "step": 2, "time_s": 7.5}"#).unwrap();
        // It will be left out once more.
        file.write_all(b"\n{\"kind\": \"step_skipped\", \"step\": 3, \"time_s\": 8}").unwrap();
        file.write_all(b"\n{\"kind\": \"st").unwrap();
        let mut log = EventLog::open(&path, 3).unwrap();
        log.append(&Event::Checkpoint { step: 9, epoch: 1 }).unwrap();
        let lines = lines(&path);
        let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 2, 9]);
        assert!(lines[4]["time_s"].as_f64().unwrap() >= 7.5);
        assert_eq!(lines[4]["kind"], "checkpoint");
    }

    #[test]
    fn a_run_from_the_start_has_an_empty_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        EventLog::open(&path, 0).unwrap().append(&Event::Checkpoint { step: 0, epoch: 0 }).unwrap();
        EventLog::open(&path, 0).unwrap();
        assert!(lines(&path).is_empty());
    }
}
