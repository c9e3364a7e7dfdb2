//! Where a run's time went: `timing.json`.

use robustseg_training::Timing;
use serde::{Deserialize, Serialize};

/// `timing.json`: where a run's time went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunTiming {
    /// The device that trained.
    pub device: String,
    /// The training method.
    pub method: String,
    /// Totals over all steps, those before a resumption among them.
    pub training: Timing,
    /// Seconds of all steps together.
    pub training_seconds: f64,
    /// Seconds a step, on average.
    pub step_seconds: f64,
    /// Training images a second.
    pub images_per_second: f64,
    /// Seconds of the evaluation.
    pub evaluation_seconds: f64,
    /// The most memory that the process had resident; nothing where the system does not say.
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

/// The high-water mark of this process, as Linux keeps it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}
