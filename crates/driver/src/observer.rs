//! What a run tells while it goes on, sent to its event log and to whoever watches.

use robustseg_training::{Event, Observer, Progress};

use crate::event_log::EventLog;
use crate::progress::Meter;

/// Writes events to a log and moves the bars.
pub(crate) struct RunObserver {
    log: Option<EventLog>,
    meter: Meter,
    failed: Option<anyhow::Error>,
}

impl RunObserver {
    /// An observer that writes to `log`, if there is one.
    pub(crate) fn new(log: Option<EventLog>) -> Self {
        Self { log, meter: Meter::new(), failed: None }
    }

    /// The first failure to write the log, which must not go unnoticed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl Observer for RunObserver {
    fn event(&mut self, event: &Event) {
        self.meter.event(event);
        if let (Some(log), None) = (&mut self.log, &self.failed) {
            self.failed = log.append(event).err();
        }
    }

    fn progress(&mut self, progress: Progress) {
        self.meter.progress(progress);
    }
}
