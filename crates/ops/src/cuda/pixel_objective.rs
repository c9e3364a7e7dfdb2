//! Upsampling, objective and gradient in one pass over the labelled pixels; full-size logits are never stored.

use super::elementwise::grid;
use super::upsample::Sizes;
use super::{launch, per_element, room, stored, view};
use crate::PixelObjective;
use crate::cpu::interpolation::Resize;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{CudaStorage, Layout, Result, bail};

/// The number of an objective among the kernels', and its lambda.
fn code(objective: PixelObjective) -> (u32, f32) {
    match objective {
        PixelObjective::CrossEntropy => (0, 0.0),
        PixelObjective::Gain => (1, 0.0),
        PixelObjective::SegPgd { lambda } => (2, lambda),
        PixelObjective::CosPgd => (3, 0.0),
        PixelObjective::MaskedCrossEntropy => (4, 0.0),
        PixelObjective::BalancedMaskedCrossEntropy => (5, 0.0),
        PixelObjective::JensenShannon => (6, 0.0),
    }
}

/// The objective's mean over the labelled pixels of each image, or of each image's share in the whole batch's (N), and
/// the gradient of their sum by `logits` if it is asked for. A label that is no class makes its image's value NaN.
pub(crate) fn means(
    r: &Resize,
    (logits, zl): (&CudaStorage, &Layout),
    (label, ll): (&CudaStorage, &Layout),
    objective: PixelObjective,
    whole_batch: bool,
    with_gradient: bool,
) -> Result<(CudaStorage, Option<CudaStorage>)> {
    let (device, images, classes) = (logits.device(), zl.dims()[0], r.channels);
    if images > 65535 || r.source[0] > 65535 || classes > 256 {
        bail!(
            "pixel_objective: expected at most 65535 images and rows and 256 classes on a GPU, found {images}, {} and \
             {classes}",
            r.source[0]
        );
    }
    let cells = r.source[0] * r.source[1];
    let (sizes, (code, lambda)) = (Sizes::from(r), code(objective));
    let (logits, label) = (view::<f32>(logits, zl)?, view::<u8>(label, ll)?);

    let mut counts = device.alloc_zeros::<u32>(images * 256)?;
    if objective == PixelObjective::BalancedMaskedCrossEntropy {
        let size = r.target[0] * r.target[1];
        let parts = size.div_ceil(256 * 16).clamp(1, 256);
        launch!(device, "count_labels", grid([parts, images, 1]), &label, &(size as u64), &mut counts);
    }

    // A cell has about 64 pixels at output stride 8; with many classes there is memory for half as many threads.
    let (room_for, threads) = match classes {
        0..=32 => (32, 64),
        33..=64 => (64, 64),
        65..=128 => (128, 64),
        _ => (256, 32),
    };
    let config = LaunchConfig {
        grid_dim: (r.source[1] as u32, r.source[0] as u32, images as u32),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    };
    let mut sums = room::<f64>(device, images * cells)?;
    let mut labelled = room::<u32>(device, images * cells)?;
    let mut corners = room::<f32>(device, if with_gradient { images * cells * 4 * classes } else { 1 })?;
    launch!(
        device,
        &format!("objective_cells_{room_for}"),
        config,
        &logits,
        &label,
        &sizes,
        &code,
        &lambda,
        &counts,
        &mut sums,
        &mut labelled,
        &mut corners,
        &u32::from(with_gradient),
    );

    let mut totals = room::<f64>(device, 2 * images)?;
    let mut values = room::<f32>(device, images)?;
    let mut shares = room::<f32>(device, images)?;
    launch!(
        device,
        "finish_objective",
        grid([1, 1, 1]),
        &sums,
        &labelled,
        &(images as u32),
        &(cells as u32),
        &u32::from(whole_batch),
        &mut totals,
        &mut values,
        &mut shares,
    );
    let values = stored(values, device);
    if !with_gradient {
        return Ok((values, None));
    }
    let count = images * cells * classes;
    let mut gradient = room::<f32>(device, count)?;
    let config = per_element(count);
    launch!(device, "gather_corners", config, &corners, &shares, &sizes, &(count as u64), &mut gradient);
    Ok((values, Some(stored(gradient, device))))
}

/// The class of the largest upsampled logit of every pixel, (N, H, W); the first of equals.
pub(crate) fn predict(r: &Resize, logits: &CudaStorage, zl: &Layout) -> Result<CudaStorage> {
    let (device, count) = (logits.device(), zl.dims()[0] * r.target[0] * r.target[1]);
    let mut out = room::<u8>(device, count)?;
    let logits = view::<f32>(logits, zl)?;
    launch!(device, "predict_f32", per_element(count), &logits, &Sizes::from(r), &(count as u64), &mut out);
    Ok(stored(out, device))
}
