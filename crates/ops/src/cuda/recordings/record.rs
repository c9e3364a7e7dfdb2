//! What a program can know about its recordings.

use super::{KINDS, Kind, State};

/// A kind of pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingRecord {
    /// The pass.
    pub pass: String,
    /// Shapes and types of its inputs.
    pub inputs: Vec<String>,
    /// The nodes of its graph, if it has one.
    pub nodes: Option<usize>,
    /// Why it has none, if a recording failed.
    pub refused: Option<String>,
}

/// The passes that this thread remembers, the latest last.
pub fn recording_records() -> Vec<RecordingRecord> {
    KINDS.with_borrow(|kinds| kinds.iter().map(Kind::record).collect())
}

impl Kind {
    fn record(&self) -> RecordingRecord {
        let (nodes, refused) = match &self.state {
            State::Computed(_) => (None, None),
            State::Refused(reason) => (None, Some(reason.clone())),
            State::Recorded(recording) => (Some(recording.nodes), None),
        };
        let inputs = self.inputs.iter().map(|(dims, dtype)| format!("{dims:?} {dtype:?}")).collect();
        RecordingRecord { pass: self.name.clone(), inputs, nodes, refused }
    }
}
