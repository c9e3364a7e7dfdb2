//! The open `events.jsonl` of a run, and its copy for TensorBoard.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use robustseg_files::write_atomically;
use robustseg_training::Event;

use super::events::{LoggedEvent, happened};
use super::tensorboard::TensorBoard;

/// An open event log. Its times count the seconds of the run without interruptions.
pub struct EventLog {
    path: PathBuf,
    file: File,
    start: Instant,
    before: f64,
    tensorboard: TensorBoard,
}

impl EventLog {
    /// Opens the log of a run whose next step is `step`. Later lines are dropped: a process that
    /// was killed wrote them after its last saved state.
    ///
    /// # Errors
    /// If the file cannot be read or written, or an earlier line is damaged.
    pub fn open(path: &Path, step: u64) -> anyhow::Result<Self> {
        let old = match std::fs::read(path) {
            Ok(old) => old,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let kept = happened(&old, step).map_err(|damage| damage.of(path))?;
        let before = kept.iter().map(|line| line.logged.time_s).fold(0.0, f64::max);
        let text: Vec<u8> = kept.iter().flat_map(|line| [line.text, b"\n"].concat()).collect();
        write_atomically(path, &text).with_context(|| format!("writing {}", path.display()))?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let folder = path.parent().unwrap_or(path);
        let tensorboard = TensorBoard::open(folder, kept.iter().map(|line| &line.logged), wall_time());
        Ok(Self { path: path.to_owned(), file, start: Instant::now(), before, tensorboard })
    }

    /// Appends `event` with the times.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        let time_s = self.before + self.start.elapsed().as_secs_f64();
        let logged = LoggedEvent { event: event.clone(), time_s, wall_time: wall_time() };
        // A JSON value writes f32 with the digits of f64.
        let object = serde_json::to_value(&logged).expect("events are plain data");
        // One write per line: a crash tears at most the last line.
        let written = self.file.write_all(format!("{object}\n").as_bytes());
        written.map_err(|source| self.error(&source))?;
        self.tensorboard.append(&logged);
        Ok(())
    }

    /// Waits until all appended events are on the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.tensorboard.sync();
        self.file.sync_data().map_err(|source| self.error(&source))
    }

    fn error(&self, source: &io::Error) -> io::Error {
        io::Error::new(source.kind(), format!("writing {}: {source}", self.path.display()))
    }
}

/// Seconds since 1970; 0 under a clock that shows an earlier time.
pub(super) fn wall_time() -> f64 {
    // The date is only written down. Nothing is computed from it.
    #[allow(clippy::disallowed_methods)]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::read_events;
    use crate::records::tensorboard::EVENT_FILE;
    use std::io::Read;

    fn skipped(step: u64, time_s: f64) -> String {
        let event = Event::StepSkipped { step, epoch: 0, reason: "inf".into() };
        serde_json::to_string(&LoggedEvent { event, time_s, wall_time: 0.0 }).unwrap()
    }

    #[test]
    fn a_resumed_log_continues_after_the_saved_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::open(&path, 0).unwrap();
        for step in 1..5 {
            log.append(&Event::Checkpoint { step, epoch: 0 }).unwrap();
        }
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        // Step 3 will be skipped again, and the last line is incomplete.
        let more = [skipped(2, 7.5), skipped(3, 8.0), "{\"kind\": \"st".into()];
        file.write_all(more.join("\n").as_bytes()).unwrap();
        let mut log = EventLog::open(&path, 3).unwrap();
        log.append(&Event::Checkpoint { step: 9, epoch: 1 }).unwrap();
        let events = read_events(&path).unwrap();
        let checkpoint = |step, epoch| Event::Checkpoint { step, epoch };
        let expected = [
            checkpoint(1, 0),
            checkpoint(2, 0),
            checkpoint(3, 0),
            Event::StepSkipped { step: 2, epoch: 0, reason: "inf".into() },
            checkpoint(9, 1),
        ];
        assert_eq!(events.iter().map(|logged| logged.event.clone()).collect::<Vec<_>>(), expected);
        assert!(events[4].time_s >= 7.5);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().all(|line| line.starts_with("{\"kind\":") && line.contains(",\"time_s\":")),
            "{text}"
        );
    }

    /// A running TensorBoard keeps the file open.
    #[test]
    fn the_open_event_file_of_tensorboard_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let validation = |step| {
            let (miou, pixel_accuracy, attacked_miou) = (0.1 * step as f64, 0.7, None);
            Event::Validation {
                step,
                epoch: 0,
                miou,
                pixel_accuracy,
                attacked_miou,
                best: true,
                seconds: 0.3,
            }
        };
        let seen = folder.path().join(EVENT_FILE);
        let mut log = EventLog::open(&path, 0).unwrap();
        let head = std::fs::read(&seen).unwrap().len();
        (1..6).for_each(|step| log.append(&validation(step)).unwrap());
        drop(log);
        let (mut looking, whole) = (File::open(&seen).unwrap(), std::fs::read(&seen).unwrap());
        let mut ends = Vec::new();
        // The process was killed after step 5, then a power cut tore the last record.
        for content in [&whole[..], &whole[..whole.len() - 3]] {
            std::fs::write(&seen, content).unwrap();
            let mut log = EventLog::open(&path, 3).unwrap();
            (4..7).for_each(|step| log.append(&validation(step)).unwrap());
            ends.push(std::fs::read(&seen).unwrap().len());
        }
        let record = (whole.len() - head) / 5;
        assert_eq!(ends, [head + 6 * record; 2], "steps 1 to 6, none of them twice");
        let mut found = Vec::new();
        looking.read_to_end(&mut found).unwrap();
        assert_eq!(found, std::fs::read(&seen).unwrap(), "who has the file open sees it grow");
        // Another run's numbers are replaced as a whole.
        let mut log = EventLog::open(&path, 0).unwrap();
        log.append(&validation(9)).unwrap();
        assert!(std::fs::read(&seen).unwrap().len() < whole.len());
    }

    #[test]
    fn a_damaged_log_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let text = format!("{}\n{{\"ki\n{}\n", skipped(1, 1.0), skipped(2, 2.0));
        std::fs::write(&path, &text).unwrap();
        let message = EventLog::open(&path, 3).err().unwrap().to_string();
        assert!(message.contains("events.jsonl: line 2"), "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_run_from_the_start_has_an_empty_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        EventLog::open(&path, 0).unwrap().append(&Event::Checkpoint { step: 0, epoch: 0 }).unwrap();
        EventLog::open(&path, 0).unwrap();
        assert!(read_events(&path).unwrap().is_empty());
    }
}
