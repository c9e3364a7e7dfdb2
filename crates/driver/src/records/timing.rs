//! The times of a run: `timing.json`.

use robustseg_training::Timing;
use serde::{Deserialize, Serialize};

/// The times of a run: `timing.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunTiming {
    /// The device of the training.
    pub device: String,
    /// The training method.
    pub method: String,
    /// Totals over all steps, including those before a resumption.
    pub training: Timing,
    /// Seconds of all steps.
    pub training_seconds: f64,
    /// Seconds per step, on average.
    pub step_seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Seconds of the evaluation.
    pub evaluation_seconds: f64,
    /// The largest resident memory of the process. `None` where the system does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
}

impl RunTiming {
    /// The timing of a run with `method` on `device`.
    pub fn new(method: &str, device: String, training: Timing, evaluation_seconds: f64) -> Self {
        let seconds = training.seconds.total();
        Self {
            device,
            method: method.to_owned(),
            training,
            training_seconds: seconds,
            step_seconds: seconds / training.steps.max(1) as f64,
            images_per_second: training.images as f64 / seconds.max(f64::MIN_POSITIVE),
            evaluation_seconds,
            peak_memory_bytes: peak_memory(),
        }
    }
}

/// The largest resident memory of this process, as Linux reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}
