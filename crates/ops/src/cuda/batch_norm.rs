//! Batch norm with `ReLU`, and the sums over pixels that it needs.

use super::{Element, launch, room, sheet, stamped, stored, view, view_mut, width};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaView, LaunchConfig};
use candle_core::{CudaDevice, CudaStorage, Layout, Result};

/// Rows that a thread of a reduction adds up.
const SUMMED: usize = 64;
/// Rows that a thread of a sweep has, for which it reads its channels' values once.
const SWEPT: usize = 8;

/// A block for 32 channels, which brings the partial sums of blocks of rows together.
fn finishing(channels: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (channels.div_ceil(32) as u32, 1, 1),
        block_dim: (32, 8, 1),
        shared_mem_bytes: 0,
    }
}

/// Mean and biased variance of every channel, (2, C).
pub(crate) fn statistics<T: Element>(x: &CudaStorage, xl: &Layout, channels: usize) -> Result<CudaStorage> {
    let (device, rows) = (x.device(), xl.shape().elem_count() / channels);
    let width = width::<T>(channels, &[xl]);
    let config = sheet(rows, channels, width, SUMMED);
    let blocks = config.grid_dim.1;
    let mut partial = room::<f32>(device, (2 * blocks as usize + 1) * channels)?;
    let mut out = room::<f32>(device, 2 * channels)?;
    let name = stamped::<T>("column_moments", width);
    let (rows, channels) = (rows as u64, channels as u32);
    launch!(device, &name, config, &view::<T>(x, xl)?, &rows, &channels, &mut partial);
    let config = finishing(channels as usize);
    launch!(device, "finish_moments", config, &partial, &blocks, &rows, &channels, &mut out);
    Ok(stored(out, device))
}

/// Statistics and parameters of a batch norm, each (C).
pub(crate) struct Norm<'a> {
    pub(crate) mean: CudaView<'a, f32>,
    pub(crate) variance: CudaView<'a, f32>,
    pub(crate) weight: CudaView<'a, f32>,
    pub(crate) bias: CudaView<'a, f32>,
    pub(crate) eps: f32,
}

impl Norm<'_> {
    fn channels(&self) -> usize {
        self.mean.len()
    }
}

/// The normalised `x` behind the `ReLU`.
pub(crate) fn scale_shift_relu<T: Element>(
    x: &CudaStorage,
    xl: &Layout,
    norm: &Norm<'_>,
) -> Result<CudaStorage> {
    let (device, count, channels) = (x.device(), xl.shape().elem_count(), norm.channels());
    let rows = count / channels;
    let width = width::<T>(channels, &[xl]);
    let mut out = room::<T>(device, count)?;
    launch!(
        device,
        &stamped::<T>("scale_shift_relu", width),
        sheet(rows, channels, width, SWEPT),
        &view::<T>(x, xl)?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &(rows as u64),
        &(channels as u32),
        &mut out,
    );
    Ok(stored(out, device))
}

/// The gradients of weight and bias, (2, C).
pub(crate) fn parameter_gradients<T: Element>(
    x: &CudaStorage,
    xl: &Layout,
    gradient: &CudaStorage,
    gl: &Layout,
    norm: &Norm<'_>,
) -> Result<CudaStorage> {
    let (device, channels) = (x.device(), norm.channels());
    let rows = xl.shape().elem_count() / channels;
    let width = width::<T>(channels, &[xl, gl]);
    let config = sheet(rows, channels, width, SUMMED);
    let blocks = config.grid_dim.1;
    let mut partial = room::<f32>(device, 2 * blocks as usize * channels)?;
    let mut out = room::<f32>(device, 2 * channels)?;
    launch!(
        device,
        &stamped::<T>("parameter_gradients", width),
        config,
        &view::<T>(x, xl)?,
        &view::<T>(gradient, gl)?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &(rows as u64),
        &(channels as u32),
        &mut partial,
    );
    launch!(
        device,
        "finish_parameter_gradients",
        finishing(channels),
        &partial,
        &blocks,
        &norm.variance,
        &norm.eps,
        &(channels as u32),
        &mut out,
    );
    Ok(stored(out, device))
}

/// The output's gradient becomes the input's, in place. `sums` are the gradients of weight and bias if the statistics
/// are those of `x`.
pub(crate) fn input_gradient<T: Element>(
    gradient: &mut CudaStorage,
    gl: &Layout,
    x: &CudaStorage,
    xl: &Layout,
    norm: &Norm<'_>,
    sums: Option<&CudaView<'_, f32>>,
) -> Result<()> {
    let (device, channels): (CudaDevice, _) = (x.device().clone(), norm.channels());
    let rows = xl.shape().elem_count() / channels;
    let width = width::<T>(channels, &[xl, gl]);
    launch!(
        &device,
        &stamped::<T>("input_gradient", width),
        sheet(rows, channels, width, SWEPT),
        &mut view_mut::<T>(gradient, gl)?,
        &view::<T>(x, xl)?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &(rows as u64),
        &(channels as u32),
        // Not read without batch statistics, but there must be something.
        sums.unwrap_or(&norm.mean),
        &u32::from(sums.is_some()),
    );
    Ok(())
}

/// Sum over rows.
pub(crate) fn column_sum(x: &CudaStorage, xl: &Layout, channels: usize) -> Result<CudaStorage> {
    let (device, rows) = (x.device(), xl.shape().elem_count() / channels);
    let mut out = room::<f32>(device, channels)?;
    let config = finishing(channels);
    let x = view::<f32>(x, xl)?;
    launch!(device, "column_sum_f32", config, &x, &(rows as u64), &(channels as u32), &mut out);
    Ok(stored(out, device))
}
