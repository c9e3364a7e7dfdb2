//! How far a training is, from the ends of its events.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use robustseg_training::Event;

use super::events::lines;

/// Bytes at the end of `events.jsonl` that hold its last events.
const END: u64 = 1 << 16;

/// How far a training is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) steps: u64,
    /// Steps of the whole training. `None` before the first event.
    pub(crate) total_steps: Option<u64>,
    /// Seconds of the run until its last event, without interruptions.
    pub(crate) seconds: f64,
}

impl Progress {
    /// Reads the file at `path`. A missing or damaged file shows no progress.
    pub(crate) fn read(path: &Path) -> Self {
        let Ok(mut file) = File::open(path) else { return Self::default() };
        let mut head = vec![0; 4096];
        let read = file.read(&mut head).unwrap_or(0);
        let first = lines(&head[..read]).next().and_then(Result::ok);
        let total_steps = first.and_then(|line| match line.logged.event {
            Event::TrainingStarted { total_steps, .. } => Some(total_steps),
            _ => None,
        });
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut tail = Vec::new();
        let start = file.seek(SeekFrom::Start(length.saturating_sub(END)));
        if start.is_err() || file.read_to_end(&mut tail).is_err() {
            return Self { total_steps, ..Self::default() };
        }
        // The first of these lines may have lost its beginning.
        let last = lines(&tail).filter_map(Result::ok).last();
        last.map_or(Self { total_steps, ..Self::default() }, |line| {
            let is_step = matches!(line.logged.event, Event::Step { .. } | Event::StepSkipped { .. });
            Self { steps: line.step + u64::from(is_step), total_steps, seconds: line.logged.time_s }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::EventLog;

    #[test]
    fn the_first_and_the_last_event_say_how_far_a_training_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        assert_eq!(Progress::read(&path), Progress::default());
        let mut log = EventLog::open(&path, 0).unwrap();
        log.append(&Event::TrainingStarted {
            step: 0,
            epoch: 0,
            total_steps: 5000,
            epochs: 1,
            parameters: 1,
        })
        .unwrap();
        for step in 0..2000 {
            log.append(&Event::StepSkipped { step, epoch: 0, reason: "x".repeat(20) }).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() > END);
        let progress = Progress::read(&path);
        assert_eq!((progress.steps, progress.total_steps), (2000, Some(5000)));
        log.append(&Event::Checkpoint { step: 2000, epoch: 0 }).unwrap();
        assert_eq!(Progress::read(&path).steps, 2000);
    }
}
