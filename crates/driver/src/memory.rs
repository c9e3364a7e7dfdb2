//! Checks that memory is available before work begins, because Rust aborts a process that runs out
//! of it.

use std::fmt::Display;
use std::hint::black_box;

use robustseg_datasets::Dataset;
use robustseg_evaluation::{EvaluationConfig, Views, Window};
use robustseg_models::NetworkConfig;

use crate::exit::OutOfMemory;

/// Bytes per value of an image or a map.
const NUMBER: u64 = 4;

/// A lower bound on the bytes for predicting `batch` images of `height` x `width` through `window`.
///
/// # Errors
/// If the configuration does not describe a network.
pub(crate) fn of_prediction(
    model: &NetworkConfig,
    window: Window,
    [batch, height, width]: [usize; 3],
) -> anyhow::Result<u64> {
    let views = window.views(height, width);
    let network = model.outline()?.forward_memory(batch, views.height, views.width);
    // Full-size logits of the windows, and their sum.
    let logits = match window {
        Window::Sliding { .. } => [batch, views.height, width, model.num_classes],
        Window::Whole | Window::CenterCrop { .. } => [0; 4],
    };
    let bytes = |counts: [usize; 4]| {
        counts.into_iter().fold(2 * NUMBER, |bytes, count| bytes.saturating_mul(count as u64))
    };
    // The image before and after normalisation.
    let images = bytes([batch, height, width, 3]);
    Ok(network.saturating_add(bytes(logits)).saturating_add(images))
}

/// A lower bound on the bytes for attacking `batch` images of `height` x `width` through `window`.
///
/// # Errors
/// If the configuration does not describe a network.
pub(crate) fn of_attack(
    model: &NetworkConfig,
    window: Window,
    [batch, height, width]: [usize; 3],
) -> anyhow::Result<u64> {
    let Views { count, height, width } = window.views(height, width);
    Ok(model.outline()?.gradient_memory(batch.saturating_mul(count), height, width))
}

/// A lower bound on the bytes for an evaluation on images as large as the first of `dataset`.
///
/// # Errors
/// If that image cannot be read, or the configuration does not describe a network.
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

/// Requires the memory that an evaluation needs at least.
///
/// # Errors
/// The errors of [`of_evaluation`], and [`OutOfMemory`] with what to lower.
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

/// The error if threads cannot be started; their stacks need memory too.
pub(crate) fn no_threads(reason: impl Display) -> OutOfMemory {
    let advice = "raise the limit of memory or processes, or set RAYON_NUM_THREADS to fewer";
    OutOfMemory(format!("threads cannot be started: {reason}; {advice}"))
}
