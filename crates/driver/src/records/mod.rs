//! The records of a run directory: the JSON files that programs read. `docs/records.md` documents
//! their fields.
//!
//! The types that write a file also read it. `evaluation.json` and `images.jsonl` are types of
//! `robustseg_evaluation`, and the events of `events.jsonl` are types of `robustseg_training`.

mod event_log;
mod events;
mod history;
mod json;
mod outcome;
mod progress;
pub(crate) mod samples;
pub(crate) mod scalars;
mod submission;
pub(crate) mod tensorboard;
mod timing;

pub use event_log::EventLog;
pub use events::{LoggedEvent, read_events};
pub use history::{History, MonitorRecord};
pub(crate) use json::read_json;
pub use outcome::Outcome;
pub(crate) use progress::Progress;
pub use submission::Submission;
pub use timing::RunTiming;
