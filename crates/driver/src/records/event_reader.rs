//! `events.jsonl`, read for the report.

use std::io::ErrorKind;
use std::path::Path;

use robustseg_training::{Reading, Sign};
use robustseg_words::plain;
use serde::Deserialize;
use serde_json::Value;

use crate::exit::BadData;

/// One event `monitor` of a run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MonitorRecord {
    /// Steps done.
    pub step: u64,
    /// What was read.
    #[serde(flatten)]
    pub reading: Reading,
    /// The sign that was seen in it; logs of former versions have it as `overfitting` alone.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// Readings with a sign in a row, this one among them; 0 if that was not kept.
    #[serde(default)]
    pub flagged: usize,
    /// How many of them are catastrophic overfitting; 0 if that was not kept.
    #[serde(default)]
    pub patience: usize,
    /// The sign, if there were so many.
    pub overfitting: Option<Sign>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl MonitorRecord {
    pub(crate) fn any_sign(&self) -> Option<Sign> {
        self.sign.or(self.overfitting)
    }

    /// Which sign in a row it has, of how many; nothing if that was not kept.
    pub(crate) fn number(&self) -> String {
        if self.flagged > 0 { format!("{} of {}", self.flagged, self.patience) } else { String::new() }
    }
}

/// What the events of a training say, by step.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Events {
    pub(crate) losses: Vec<(u64, f64)>,
    pub(crate) validations: Vec<(u64, f64)>,
    pub(crate) epsilons: Vec<(u64, Vec<f64>)>,
}

/// The events of the log at `path`, each with the number of its line; none if there is no log. A last line without an
/// end was torn by a crash, and does not count.
fn log(path: &Path) -> Result<Vec<(usize, Value)>, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let event = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(event) => Ok((number, event)),
        Err(error) => Err(refuse(format!("line {number} is no event ({})", plain(error)))),
    };
    (1..).zip(whole.lines()).map(event).collect()
}

/// Losses, validations and epsilons of the event log at `path`.
pub(crate) fn events(path: &Path) -> Result<Events, BadData> {
    let refuse = |reason: String| BadData(format!("{}: {reason}", path.display()));
    let mut found = Events::default();
    for (line_number, event) in log(path)? {
        let (values, key) = match event["kind"].as_str() {
            Some("step") => (&mut found.losses, "loss"),
            Some("validation") => (&mut found.validations, "miou"),
            Some(_) => continue,
            None => return Err(refuse(format!("line {line_number} is no event: it has no kind"))),
        };
        let (Some(step), Some(value)) = (event["step"].as_u64(), event[key].as_f64()) else {
            return Err(refuse(format!("line {line_number}: the event has no step or no {key}")));
        };
        values.push((step, value));
        if let Some(epsilons) = event["epsilons"].as_array() {
            found.epsilons.push((step, epsilons.iter().filter_map(Value::as_f64).collect()));
        }
    }
    Ok(found)
}

/// The readings of the event log at `path`.
pub(crate) fn readings(path: &Path) -> Result<Vec<MonitorRecord>, BadData> {
    let events = log(path)?.into_iter().filter(|(_, event)| event["kind"] == "monitor");
    let record = |(line, event)| {
        serde_json::from_value(event).map_err(|error| {
            BadData(format!("{}: line {line}: the event is no reading ({})", path.display(), plain(error)))
        })
    };
    events.map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let step = "{\"kind\": \"step\", \"step\": 4, \"loss\": 1.5}\n";
        std::fs::write(&path, format!("{step}{{\"kind\": \"other\"}}\n{{\"kind\": \"st")).unwrap();
        let expected = Events { losses: vec![(4, 1.5)], ..Events::default() };
        assert_eq!(events(&path).unwrap(), expected);
    }
}
