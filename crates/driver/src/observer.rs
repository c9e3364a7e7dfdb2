//! Sends the events of a run to its event log and to the user.

use std::io;

use robustseg_evaluation::Advance;
use robustseg_training::{Event, Observer, Progress};

use crate::progress::Meter;
use crate::records::EventLog;

/// Writes events to a log and moves the bars.
pub(crate) struct RunObserver {
    log: Option<EventLog>,
    meter: Meter,
}

impl RunObserver {
    /// An observer that writes to `log`, if there is one.
    pub(crate) fn new(log: Option<EventLog>) -> Self {
        Self { log, meter: Meter::new() }
    }

    /// Shows how far an evaluation is.
    pub(crate) fn evaluation(&mut self, advance: Advance) {
        self.meter.evaluation(advance);
    }
}

impl Observer for RunObserver {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.meter.event(event);
        self.log.as_mut().map_or(Ok(()), |log| log.append(event))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), EventLog::sync)
    }

    fn progress(&mut self, progress: Progress) {
        self.meter.progress(progress);
    }
}
