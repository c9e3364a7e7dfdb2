//! Layer norm. A few neighbouring threads of a warp have a row.

use super::column_sums::finishing;
use super::element::{Element, stamped, width};
use super::launch::{launch, reduction, sheet};
use super::memory::{room, stored};
use crate::layer_norm::{LayerNorm, LayerNormGradient, LayerNormParameters};
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{CudaStorage, Result};

/// Blocks whose threads have whole rows.
fn whole_rows(rows: usize, channels: usize, width: usize) -> LaunchConfig {
    let LaunchConfig { grid_dim: (_, blocks, _), block_dim, shared_mem_bytes } =
        sheet(rows, channels, width, 1);
    LaunchConfig { grid_dim: (1, blocks, 1), block_dim, shared_mem_bytes }
}

impl OnGpu<3> for LayerNorm {
    fn compute<T: Element>(&self, [x, weight, bias]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (device, count, channels) = (x.storage.device(), x.count(), self.channels);
        let rows = count / channels;
        let width = width::<T>(channels, &[x.layout, weight.layout, bias.layout]);
        let mut out = room::<T>(device, count)?;
        launch!(
            device,
            &stamped::<T>("layer_norm", width),
            whole_rows(rows, channels, width),
            &x.view::<T>()?,
            &weight.view::<f32>()?,
            &bias.view::<f32>()?,
            &self.eps,
            &(rows as u64),
            &(channels as u32),
            &mut out,
        );
        Ok(stored(out, device))
    }
}

impl OnGpu<3> for LayerNormGradient {
    fn compute<T: Element>(&self, [x, weight, gradient]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let LayerNorm { eps, channels } = self.0;
        let (device, count) = (x.storage.device(), x.count());
        let rows = count / channels;
        let width = width::<T>(channels, &[x.layout, weight.layout, gradient.layout]);
        let mut out = room::<T>(device, count)?;
        launch!(
            device,
            &stamped::<T>("layer_norm_gradient", width),
            whole_rows(rows, channels, width),
            &x.view::<T>()?,
            &weight.view::<f32>()?,
            &gradient.view::<T>()?,
            &eps,
            &(rows as u64),
            &(channels as u32),
            &mut out,
        );
        Ok(stored(out, device))
    }
}

impl OnGpu<2> for LayerNormParameters {
    fn compute<T: Element>(&self, [x, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let LayerNorm { eps, channels } = self.0;
        let device = x.storage.device();
        let rows = x.count() / channels;
        let width = width::<T>(channels, &[x.layout, gradient.layout]);
        let (count, own) = (rows as u64, channels as u32);
        let (x, gradient) = (x.view::<T>()?, gradient.view::<T>()?);
        let mut moments = room::<f32>(device, 2 * rows)?;
        let (name, config) = (stamped::<T>("layer_norm_moments", width), whole_rows(rows, channels, width));
        launch!(device, &name, config, &x, &eps, &count, &own, &mut moments);
        let (name, config) = (stamped::<T>("layer_norm_parameters", width), reduction(rows, channels, width));
        let blocks = config.grid_dim.1;
        let mut partial = room::<f32>(device, 2 * blocks as usize * channels)?;
        launch!(device, &name, config, &x, &gradient, &moments, &count, &own, &mut partial);
        let mut out = room::<f32>(device, 2 * channels)?;
        let config = finishing(2 * channels);
        launch!(device, "finish_column_sums_f32", config, &partial, &blocks, &(2 * own), &mut out);
        Ok(stored(out, device))
    }
}
