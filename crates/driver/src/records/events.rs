//! `events.jsonl`: one JSON object per line for each event of a run.

use std::io::ErrorKind;
use std::path::Path;

use robustseg_training::Event;
use robustseg_words::plain;
use serde::{Deserialize, Serialize};

use crate::exit::BadData;

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Seconds of the run until then, without interruptions. 0 if the file does not say.
    #[serde(default)]
    pub time_s: f64,
    /// Seconds since 1970. 0 if the file does not say, and before 1970.
    #[serde(default)]
    pub wall_time: f64,
}

/// A line of the file.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The line without its end.
    pub(super) text: &'a [u8],
    /// The line's step; 0 for an event without one.
    pub(super) step: u64,
    /// The line's content.
    pub(super) logged: LoggedEvent,
}

/// The step of an event of any kind.
#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    step: u64,
}

impl<'a> Line<'a> {
    /// # Errors
    /// The parser's reason if `text` is not an event.
    fn parse(text: &'a [u8]) -> serde_json::Result<Self> {
        let Step { step } = serde_json::from_slice(text)?;
        Ok(Self { text, step, logged: serde_json::from_slice(text)? })
    }
}

/// A line that is not an event.
#[derive(Debug)]
pub(super) struct Damage {
    /// The line's number, from 1.
    pub(super) number: usize,
    reason: String,
}

impl Damage {
    /// The error that names the file at `path` and the line.
    pub(super) fn of(&self, path: &Path) -> BadData {
        let Self { number, reason } = self;
        BadData(format!("{}: line {number} is not an event that robustseg writes ({reason})", path.display()))
    }
}

/// All lines of the file with the content `bytes`. A last line without an end was torn by a crash
/// and is left out.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, Damage>> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &bytes[..end]);
    let lines = whole.split(|byte| *byte == b'\n').filter(move |_| !whole.is_empty());
    (1..)
        .zip(lines)
        .map(|(number, text)| Line::parse(text).map_err(|error| Damage { number, reason: plain(error) }))
}

/// The events of the file at `path`, in its order. A missing file has none, and a last line that a
/// crash tore is left out.
///
/// # Errors
/// If the file cannot be read, or another line is not an event; the error names the file and the
/// line.
pub fn read_events(path: &Path) -> Result<Vec<LoggedEvent>, BadData> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(BadData(format!("{}: cannot be read: {error}", path.display()))),
    };
    lines(&bytes).map(|line| line.map(|line| line.logged).map_err(|damage| damage.of(path))).collect()
}

/// The bytes of `lines` that belong to a run of which `step` steps are done. A crash or a power cut
/// may have damaged lines after these, which are dropped with all others.
///
/// # Errors
/// If a line of that run follows a damaged one.
pub(super) fn happened(bytes: &[u8], step: u64) -> Result<Vec<Line<'_>>, Damage> {
    let (mut kept, mut damaged) = (Vec::new(), None);
    for line in lines(bytes) {
        match line {
            Ok(line) if !line.is_before(step) => {}
            Ok(line) => match damaged.take() {
                Some(damage) => return Err(damage),
                None => kept.push(line),
            },
            Err(damage) => damaged = damaged.or(Some(damage)),
        }
    }
    Ok(kept)
}

impl Line<'_> {
    /// Whether the event happened in a run of which `step` steps are done.
    fn is_before(&self, step: u64) -> bool {
        match self.logged.event {
            Event::Step { .. } | Event::StepSkipped { .. } => self.step < step,
            _ => self.step <= step && step > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event) -> String {
        serde_json::to_string(&LoggedEvent { event, time_s: 1.5, wall_time: 1e9 }).unwrap() + "\n"
    }

    fn checkpoint(step: u64) -> String {
        line(Event::Checkpoint { step, epoch: 0 })
    }

    fn read(text: &str) -> Result<Vec<LoggedEvent>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, text).unwrap();
        read_events(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_torn_last_line_does_not_count() {
        let events = read(&(checkpoint(4) + "{\"kind\": \"st")).unwrap();
        let event = Event::Checkpoint { step: 4, epoch: 0 };
        let expected = LoggedEvent { event, time_s: 1.5, wall_time: 1e9 };
        assert_eq!(events, [expected]);
        assert!(read("{\"kind\": \"st").unwrap().is_empty() && read("").unwrap().is_empty());
    }

    #[test]
    fn a_damaged_line_is_named() {
        for damaged in ["{\"ki", "", "{}", "{\"kind\": \"checkpoint\", \"step\": 1}", "\0\0", "[1]"] {
            let message = read(&(checkpoint(1) + damaged + "\n" + &checkpoint(2))).unwrap_err();
            assert!(message.contains("events.jsonl: line 2 is not an event"), "{damaged}: {message}");
        }
    }

    #[test]
    fn events_and_fields_of_other_versions_are_read() {
        let events = read(
            "{\"kind\": \"checkpoint\", \"step\": 1, \"epoch\": 0, \"moon\": [1]}\n\
             {\"kind\": \"eclipse\", \"step\": 2}\n",
        )
        .unwrap();
        assert_eq!(events[0].event, Event::Checkpoint { step: 1, epoch: 0 });
        assert_eq!(events[1].event, Event::Unknown);
    }

    #[test]
    fn numbers_that_are_not_finite_are_read_again() {
        let mark = robustseg_training::Mark::default();
        let reading = robustseg_training::Reading {
            chance: 0.1,
            clean: mark,
            fgsm: mark,
            bim: mark,
            loss_along: vec![0.5, f64::INFINITY],
            cosine: Some(f64::NAN),
            newton_epsilon: vec![0.5],
            linearity: None,
            training_linearity: None,
        };
        let (sign, overfitting) = (None, None);
        let monitor = Event::Monitor {
            step: 1,
            epoch: 0,
            reading,
            sign,
            flagged: 0,
            patience: 1,
            overfitting,
            seconds: 0.5,
        };
        let events = read(&line(monitor)).unwrap();
        let Event::Monitor { reading, .. } = &events[0].event else { panic!("{events:?}") };
        assert!(reading.loss_along[1].is_nan() && reading.cosine.is_none());
    }

    #[test]
    fn damage_matters_only_among_events_of_the_saved_run() {
        let steps = |text: &str| {
            happened(text.as_bytes(), 3)
                .map(|lines| lines.iter().map(|line| line.step).collect::<Vec<_>>())
                .map_err(|damage| damage.number)
        };
        let (before, after) = (checkpoint(2), checkpoint(5));
        assert_eq!(steps(&format!("{before}{before}{after}")), Ok(vec![2, 2]));
        assert_eq!(steps(&format!("{before}\0\0\n{after}{{\"ki\n")), Ok(vec![2]));
        assert_eq!(steps(&format!("{before}\0\0\n{before}")), Err(2));
    }
}
