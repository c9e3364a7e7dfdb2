//! What a program can know about its recordings.

use super::{Kind, State};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A kind of pass that was recorded, or could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingRecord {
    /// The pass.
    pub pass: String,
    /// Shapes and types of its inputs.
    pub inputs: Vec<String>,
    /// The nodes of its graph, if it has one.
    pub nodes: Option<usize>,
    /// Why it has none.
    pub refused: Option<String>,
}

type Name = (String, Vec<String>);

thread_local! {
    static ALL: RefCell<BTreeMap<Name, RecordingRecord>> = const { RefCell::new(BTreeMap::new()) };
}

/// The kinds of passes that this thread has recorded or failed to record since it began.
pub fn recording_records() -> Vec<RecordingRecord> {
    ALL.with_borrow(|all| all.values().cloned().collect())
}

/// Keeps what is known about `kind`.
pub(super) fn note(kind: &Kind) {
    let (nodes, refused) = match &kind.state {
        State::Computed(_) => return,
        State::Refused(reason) => (None, Some(reason.clone())),
        State::Recorded(recording) => (Some(recording.nodes), None),
    };
    let inputs: Vec<String> = kind.inputs.iter().map(|(dims, dtype)| format!("{dims:?} {dtype:?}")).collect();
    let record = RecordingRecord { pass: kind.name.clone(), inputs: inputs.clone(), nodes, refused };
    ALL.with_borrow_mut(|all| all.insert((kind.name.clone(), inputs), record));
}
