//! The report's facts about the machine and the time.

use crate::draw::html;
use crate::draw::time::duration;
use crate::records::RunTiming;

/// Times, device and memory in tiles.
pub(super) fn facts(timing: &RunTiming) -> String {
    let memory = timing.peak_memory_bytes;
    let memory = memory.map(|bytes| ("peak memory", format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))));
    let facts = [
        ("training", duration(timing.training_seconds)),
        ("seconds per step", format!("{:.3}", timing.step_seconds)),
        ("evaluation", duration(timing.evaluation_seconds)),
        ("device", timing.device.clone()),
    ];
    html::facts(facts.into_iter().chain(memory))
}
