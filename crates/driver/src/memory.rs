//! Memory that is asked for before work begins, because Rust ends a process that runs out of it.

use std::fmt::Display;
use std::hint::black_box;

use robustseg_datasets::Dataset;
use robustseg_evaluation::{EvaluationConfig, Views, Window};
use robustseg_models::NetworkConfig;

use crate::exit::OutOfMemory;

/// Bytes of a number in an image or a map.
const NUMBER: u64 = 4;

/// Bytes that predicting `batch` images of `height` x `width` through `window` needs at least.
///
/// # Errors
/// If the configuration describes no network.
pub(crate) fn of_prediction(
    model: &NetworkConfig,
    window: Window,
    [batch, height, width]: [usize; 3],
) -> anyhow::Result<u64> {
    let views = window.views(height, width);
    let network = model.outline()?.forward_memory(batch, views.height, views.width);
    // Full-size logits of the windows side by side, and their sum.
    let logits = match window {
        Window::Sliding { .. } => [batch, views.height, width, model.num_classes],
        Window::Whole | Window::CenterCrop { .. } => [0; 4],
    };
    let bytes = |counts: [usize; 4]| {
        counts.into_iter().fold(2 * NUMBER, |bytes, count| bytes.saturating_mul(count as u64))
    };
    // The image before and after it is brought to the network's range.
    let images = bytes([batch, height, width, 3]);
    Ok(network.saturating_add(bytes(logits)).saturating_add(images))
}

/// Bytes that attacking `batch` images of `height` x `width` through `window` needs at least.
///
/// # Errors
/// If the configuration describes no network.
pub(crate) fn of_attack(
    model: &NetworkConfig,
    window: Window,
    [batch, height, width]: [usize; 3],
) -> anyhow::Result<u64> {
    let Views { count, height, width } = window.views(height, width);
    Ok(model.outline()?.gradient_memory(batch.saturating_mul(count), height, width))
}

/// Bytes that an evaluation needs at least, on images of the size of the first of `dataset`.
///
/// # Errors
/// If that image cannot be read, or the configuration describes no network.
pub(crate) fn of_evaluation(
    model: &NetworkConfig,
    evaluation: &EvaluationConfig,
    dataset: &Dataset,
) -> anyhow::Result<u64> {
    let first = dataset.load(0)?.image;
    let images = [evaluation.batch_size.min(dataset.len()), first.height, first.width];
    if evaluation.curves.is_empty() {
        of_prediction(model, evaluation.window, images)
    } else {
        of_attack(model, evaluation.window, images)
    }
}

/// Asks for the memory that an evaluation needs at least.
///
/// # Errors
/// As [`of_evaluation`], and [`OutOfMemory`] with what to lower.
pub(crate) fn require_for_evaluation(
    model: &NetworkConfig,
    evaluation: &EvaluationConfig,
    dataset: &Dataset,
) -> anyhow::Result<()> {
    let (batch_size, (scale, value)) = (evaluation.batch_size, model.architecture.scale());
    let advice = format!(
        "raise the limit, lower evaluation.batch_size ({batch_size} now), take an evaluation.window, or a network of a \
         smaller {scale} ({value} now)"
    );
    Ok(require(of_evaluation(model, evaluation, dataset)?, "the evaluation", &advice)?)
}

/// Asks the system for `bytes`, gives them back, and refuses `what` if they are not to be had; `advice` says what to lower.
///
/// # Errors
/// [`OutOfMemory`], as a limit (`ulimit -v`, `ulimit -d`) or the machine's memory says. It is no promise: others may take
/// it, and what is needed is estimated from below.
pub(crate) fn require(bytes: u64, what: &str, advice: &str) -> Result<(), OutOfMemory> {
    let mut room: Vec<u8> = Vec::new();
    let granted = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // Or the compiler sees that nobody uses it.
    black_box(&room);
    if granted {
        return Ok(());
    }
    let amount = bytes as f64 / f64::from(1 << 20);
    Err(OutOfMemory(format!(
        "{what} needs at least {amount:.0} MB of memory, which is not to be had: {advice}"
    )))
}

/// That threads cannot be started, whose stacks are memory too.
pub(crate) fn no_threads(reason: impl Display) -> OutOfMemory {
    let advice = "raise the limit of memory or processes, or set RAYON_NUM_THREADS to fewer";
    OutOfMemory(format!("threads cannot be started: {reason}; {advice}"))
}
