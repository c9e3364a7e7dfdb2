//! Checks that memory is available before work begins, because Rust aborts a process that runs out
//! of it.

use std::fmt::Display;
use std::hint::black_box;

use robustseg_datasets::Dataset;
use robustseg_evaluation::{EvaluationConfig, Protocol, Views};
use robustseg_models::{NetworkConfig, Outline};

use crate::device::Precision;
use crate::exit::OutOfMemory;

/// Bytes per value of an image or a map.
const NUMBER: u64 = 4;

/// A lower bound on the bytes for predicting `classes` of `batch` images of `height` x `width` in `views`.
pub(crate) fn of_prediction(
    outline: &Outline,
    classes: usize,
    views: &[Views],
    [batch, height, width]: [usize; 3],
) -> u64 {
    let of_one = |views: &Views| outline.forward_memory(batch, views.height, views.width);
    let network = views.iter().map(of_one).max().unwrap_or(0);
    // Full-size logits of the views, and their sum.
    let rows = views.iter().map(|views| views.height.min(height)).max().unwrap_or(0);
    let several = views.len() > 1 || views.iter().any(|views| views.count > 1);
    let logits = if several { [batch, rows, width, classes] } else { [0; 4] };
    let bytes = |counts: [usize; 4]| {
        counts.into_iter().fold(2 * NUMBER, |bytes, count| bytes.saturating_mul(count as u64))
    };
    // The image before and after normalisation.
    let images = bytes([batch, height, width, 3]);
    network.saturating_add(bytes(logits)).saturating_add(images)
}

/// A lower bound on the bytes for attacking `batch` images of which `views` are in memory at once.
pub(crate) fn of_attack(outline: &Outline, views: &[Views], batch: usize) -> u64 {
    let bytes =
        |images: usize, &Views { height, width, .. }: &Views| outline.gradient_memory(images, height, width);
    let weights = views.first().map_or(0, |views| bytes(0, views));
    let maps = views.iter().map(|views| bytes(batch.saturating_mul(views.count), views) - bytes(0, views));
    maps.fold(weights, u64::saturating_add)
}

/// A lower bound on the bytes for an evaluation on images as large as the first of `dataset`.
///
/// # Errors
/// If that image cannot be read, or the configuration does not describe a network.
pub(crate) fn of_evaluation(
    model: &NetworkConfig,
    precision: Precision,
    evaluation: &EvaluationConfig,
    dataset: &Dataset,
) -> anyhow::Result<u64> {
    let first = dataset.load(0)?.image;
    let (batch, [height, width]) = (evaluation.batch_size.min(dataset.len()), [first.height, first.width]);
    let outline = precision.outline(model)?;
    Ok(if evaluation.curves.is_empty() {
        let views = evaluation.views(height, width);
        of_prediction(&outline, model.num_classes, &views, [batch, height, width])
    } else {
        of_attack(&outline, &evaluation.attacked_views(height, width), batch)
    })
}

/// Requires the memory that an evaluation needs at least.
///
/// # Errors
/// The errors of [`of_evaluation`], and [`OutOfMemory`] with what to lower.
pub(crate) fn require_for_evaluation(
    model: &NetworkConfig,
    precision: Precision,
    evaluation: &EvaluationConfig,
    dataset: &Dataset,
) -> anyhow::Result<()> {
    let (batch_size, (scale, value)) = (evaluation.batch_size, model.architecture.scale());
    let smaller = match evaluation.protocol {
        Protocol::WholeImage => "take an evaluation.window",
        _ => "lower the sizes of evaluation.protocol",
    };
    let advice = format!(
        "raise the limit, lower evaluation.batch_size ({batch_size} now), {smaller}, or a network of a smaller \
         {scale} ({value} now)"
    );
    Ok(require(of_evaluation(model, precision, evaluation, dataset)?, "the evaluation", &advice)?)
}

/// Allocates `bytes` and frees them again. Refuses `what` if they are not available; `advice` says
/// what to lower.
///
/// # Errors
/// [`OutOfMemory`], due to a limit (`ulimit -v`, `ulimit -d`) or the machine's memory. Success is
/// no guarantee: other processes may take the memory, and the estimate is a lower bound.
pub(crate) fn require(bytes: u64, what: &str, advice: &str) -> Result<(), OutOfMemory> {
    let mut room: Vec<u8> = Vec::new();
    let granted = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // Keeps the compiler from removing the unused allocation.
    black_box(&room);
    if granted {
        return Ok(());
    }
    let amount = bytes as f64 / f64::from(1 << 20);
    Err(OutOfMemory(format!(
        "{what} needs at least {amount:.0} MB of memory, but the system does not provide it; {advice}"
    )))
}

/// Whether `bytes` are available now, within the process's limits and next to other processes.
pub(crate) fn fits(bytes: u64) -> bool {
    let unused = available();
    unused.is_none_or(|unused| bytes <= unused) && require(bytes, "", "").is_ok()
}

/// The bytes that Linux could give to processes, if it says so.
fn available() -> Option<u64> {
    let read = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = read.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// The error if threads cannot be started; their stacks need memory too.
pub(crate) fn no_threads(reason: impl Display) -> OutOfMemory {
    let advice = "raise the limit of memory or processes, or set RAYON_NUM_THREADS to fewer";
    OutOfMemory(format!("threads cannot be started: {reason}; {advice}"))
}
