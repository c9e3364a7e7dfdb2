//! Upsampling, objective and gradient of one cell of the small map after the other. Full-size
//! logits are never stored.

use super::constants::constants;
use super::element::Element;
use super::launch::{grid, launch, per_element};
use super::memory::{room, stored};
use super::resize::Sizes;
use crate::operation::{GpuInputs, OnGpu};
use crate::pixel_objective::{Mean, Objective, PixelObjective};
use crate::resize::Resize;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, LaunchConfig};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Result, Storage, Tensor, bail};
use std::sync::Arc;

impl OnGpu<2> for Objective {
    fn compute<T: Element>(&self, inputs: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (values, gradient) = means(self, inputs)?;
        if let Some(gradient) = gradient {
            let (gradient, shape) = (Storage::Cuda(gradient), inputs[0].layout.shape());
            self.gradient.set(Tensor::from_storage(gradient, shape, BackpropOp::none(), false)).ok();
        }
        Ok(values)
    }
}

/// The number of an objective among the kernels', and its parameter.
fn code(objective: PixelObjective) -> (u32, f32) {
    match objective {
        PixelObjective::CrossEntropy => (0, 0.0),
        PixelObjective::Gain => (1, 0.0),
        PixelObjective::SegPgd { lambda } => (2, lambda),
        PixelObjective::CosPgd => (3, 0.0),
        PixelObjective::MaskedCrossEntropy => (4, 0.0),
        PixelObjective::BalancedMaskedCrossEntropy => (5, 0.0),
        PixelObjective::JensenShannon => (6, 0.0),
        PixelObjective::Tsallis { q } => (7, q),
    }
}

/// The pixels of 256 classes, up to a common factor.
fn in_32_bits(class_pixels: &[u64]) -> Vec<u32> {
    let largest = class_pixels.iter().copied().max().unwrap_or(0);
    let shift = 32_u32.saturating_sub(largest.leading_zeros());
    let mut counts = vec![0; 256];
    for (count, &pixels) in counts.iter_mut().zip(class_pixels) {
        *count = (pixels >> shift).max(u64::from(pixels > 0)) as u32;
    }
    counts
}

/// The pixels of 256 classes in each image, where the objective needs them, otherwise zeros.
fn own_counts(
    device: &CudaDevice,
    label: &CudaView<'_, u8>,
    (resize, images): (&Resize, usize),
    objective: PixelObjective,
) -> Result<CudaSlice<u32>> {
    let mut counts = device.alloc_zeros::<u32>(images * 256)?;
    if objective == PixelObjective::BalancedMaskedCrossEntropy {
        let size = resize.target[0] * resize.target[1];
        let parts = size.div_ceil(256 * 16).clamp(1, 256);
        launch!(device, "count_labels", grid([parts, images, 1]), label, &(size as u64), &mut counts);
    }
    Ok(counts)
}

/// The means (N) over the labelled pixels of each image, or each image's share of the mean over the
/// whole batch, and the gradient of their sum by `logits` if the objective wants it. A label that
/// is not a class makes the value of its image NaN.
fn means(
    objective: &Objective,
    [logits, label]: GpuInputs<'_, 2>,
) -> Result<(CudaStorage, Option<CudaStorage>)> {
    let Objective { resize: r, pixel, class_pixels, mean, with_gradient, .. } = objective;
    let (with_gradient, whole_batch) = (*with_gradient, *mean == Mean::WholeBatch);
    let (device, images, classes) = (logits.storage.device(), logits.dims()[0], r.channels);
    if images > 65535 || r.source[0] > 65535 || classes > 256 {
        bail!(
            "pixel_objective: expected at most 65535 images and rows and 256 classes on a GPU, found {images}, {} and \
             {classes}",
            r.source[0]
        );
    }
    let cells = r.source[0] * r.source[1];
    let (sizes, (code, parameter)) = (Sizes::from(r), code(*pixel));
    let (logits, label) = (logits.view::<f32>()?, label.view::<u8>()?);

    let counts = match class_pixels {
        Some(pixels) => constants(device, &in_32_bits(pixels).repeat(images))?,
        None => Arc::new(own_counts(device, &label, (r, images), *pixel)?),
    };

    // A cell has about 64 pixels at output stride 8. With many classes, memory suffices for half as
    // many threads.
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
        &parameter,
        &*counts,
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
