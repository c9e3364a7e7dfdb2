//! Depthwise convolution.

use super::column_sums::finishing;
use super::element::{Element, stamped, width};
use super::launch::{BUSY, launch, per_element, sheet};
use super::memory::{room, stored};
use super::window::Window;
use crate::depthwise::{Depthwise, DepthwiseInputGradient, DepthwiseWeightGradient};
use crate::geometry::Geometry;
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, LaunchConfig};
use candle_core::{CudaStorage, Result, bail};

/// Neighbouring pixels and taps of a thread, as the kernels have them.
const PIXELS: usize = 4;
const TAPS: usize = 4;
/// Least rows of the output for a block that sums over them.
const LINES: usize = 4;

impl OnGpu<3> for Depthwise {
    fn compute<T: Element>(&self, [x, weight, bias]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        sweep::<T>("depthwise", &self.0, x, weight, Some(bias))
    }
}

impl OnGpu<2> for DepthwiseInputGradient {
    fn compute<T: Element>(&self, [gradient, weight]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        sweep::<T>("depthwise_input_gradient", &self.0, gradient, weight, None)
    }
}

/// The kernel `name`, which gives the output with a `bias`, and the gradient of the input without.
fn sweep<T: Element>(
    name: &str,
    g: &Geometry,
    x: Input<'_, CudaStorage>,
    weight: Input<'_, CudaStorage>,
    bias: Option<Input<'_, CudaStorage>>,
) -> Result<CudaStorage> {
    let (device, channels) = (x.storage.device(), g.output[2]);
    let [height, columns, _] = if bias.is_some() { g.output } else { g.input };
    let width = width::<T>(channels, &[x.layout]);
    let threads = g.batch * height * columns.div_ceil(PIXELS) * (channels / width);
    let (x, weights) = (x.view::<T>()?, by_tap(weight, g)?);
    let mut out = room::<T>(device, g.batch * height * columns * channels)?;
    let (name, config) = (stamped::<T>(name, width), per_element(threads));
    let (window, threads) = (Window::new(g, channels), threads as u64);
    if let Some(bias) = bias.map(Input::view::<f32>).transpose()? {
        launch!(device, &name, config, &x, &weights, &bias, &window, &threads, &mut out);
    } else {
        launch!(device, &name, config, &x, &weights, &window, &threads, &mut out);
    }
    Ok(stored(out, device))
}

/// The weights (C, taps) as (taps, C), which neighbouring threads read without gaps.
fn by_tap(weight: Input<'_, CudaStorage>, g: &Geometry) -> Result<CudaSlice<f32>> {
    let (device, count, channels) = (weight.storage.device(), weight.count(), g.output[2]);
    let mut out = room::<f32>(device, count)?;
    let (weight, taps): (CudaView<'_, f32>, _) = (weight.view()?, (count / channels) as u32);
    let (config, channels) = (per_element(count), channels as u32);
    launch!(device, "weights_by_tap_f32", config, &weight, &channels, &taps, &mut out);
    Ok(out)
}

impl OnGpu<2> for DepthwiseWeightGradient {
    fn compute<T: Element>(&self, [x, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (g, device, channels) = (&self.0, x.storage.device(), self.0.output[2]);
        let parts = g.kernel[0] * g.kernel[1].div_ceil(TAPS);
        if parts > 65535 {
            bail!("depthwise_conv2d: expected a kernel of at most 65535 x {TAPS} taps on a GPU");
        }
        let (lines, taps) = (g.batch * g.output[0], g.kernel[0] * g.kernel[1]);
        let width = width::<T>(channels, &[x.layout, gradient.layout]);
        let LaunchConfig { grid_dim: (across, ..), block_dim, shared_mem_bytes } =
            sheet(1, channels, width, 1);
        let blocks = (2 * BUSY / (across as usize * parts)).clamp(1, lines.div_ceil(LINES));
        let grid_dim = (across, blocks as u32, parts as u32);
        let config = LaunchConfig { grid_dim, block_dim, shared_mem_bytes };
        let mut partial = room::<f32>(device, blocks * channels * taps)?;
        let mut out = room::<f32>(device, channels * taps)?;
        launch!(
            device,
            &stamped::<T>("depthwise_weight_gradient", width),
            config,
            &x.view::<T>()?,
            &gradient.view::<T>()?,
            &Window::new(g, channels),
            &(lines as u64),
            &mut partial,
        );
        let (config, columns) = (finishing(channels * taps), (channels * taps) as u32);
        launch!(device, "finish_column_sums_f32", config, &partial, &(blocks as u32), &columns, &mut out);
        Ok(stored(out, device))
    }
}
