//! The course of a training, from its events.

use robustseg_training::{Event, Reading, Sign};

use super::events::LoggedEvent;

/// The values of a training over its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Step and loss of each training step.
    pub losses: Vec<(u64, f64)>,
    /// Step and mean IoU of each validation.
    pub validations: Vec<(u64, f64)>,
    /// Step and epsilons of each training step with adversarial examples.
    pub epsilons: Vec<(u64, Vec<f64>)>,
    /// The readings of the monitor.
    pub readings: Vec<MonitorRecord>,
}

/// A reading of the monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorRecord {
    /// Steps done.
    pub step: u64,
    /// The reading.
    pub reading: Reading,
    /// Its sign of catastrophic overfitting. Older files have it only in `overfitting`.
    pub sign: Option<Sign>,
    /// Readings with a sign in a row, including this one; 0 in older files.
    pub flagged: usize,
    /// The number of them that counts as catastrophic overfitting; 0 in older files.
    pub patience: usize,
    /// The sign, if that number is reached.
    pub overfitting: Option<Sign>,
    /// Its duration in seconds.
    pub seconds: f64,
}

impl History {
    /// The history in `events`.
    pub fn of(events: impl IntoIterator<Item = LoggedEvent>) -> Self {
        let mut history = Self::default();
        for LoggedEvent { event, .. } in events {
            match event {
                Event::Step { record, .. } => {
                    history.losses.push((record.step, record.loss.into()));
                    if !record.epsilons.is_empty() {
                        let epsilons = record.epsilons.into_iter().map(f64::from).collect();
                        history.epsilons.push((record.step, epsilons));
                    }
                }
                Event::Validation { step, miou, .. } => history.validations.push((step, miou)),
                Event::Monitor { step, reading, sign, flagged, patience, overfitting, seconds, .. } => {
                    let record =
                        MonitorRecord { step, reading, sign, flagged, patience, overfitting, seconds };
                    history.readings.push(record);
                }
                _ => {}
            }
        }
        history
    }
}

impl MonitorRecord {
    /// The sign of this reading, whatever version wrote it.
    pub(crate) fn any_sign(&self) -> Option<Sign> {
        self.sign.or(self.overfitting)
    }

    /// The position among signs in a row, such as `1 of 3`. Empty in older files, which do not
    /// count.
    pub(crate) fn number(&self) -> String {
        if self.flagged > 0 { format!("{} of {}", self.flagged, self.patience) } else { String::new() }
    }
}
