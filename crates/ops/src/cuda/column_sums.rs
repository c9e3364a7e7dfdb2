//! Sums over pixels, and the statistics that are made of them.

use super::element::{Element, stamped, width};
use super::launch::{launch, reduction};
use super::memory::{room, stored};
use crate::batch_norm::Statistics;
use crate::channels::ColumnSum;
use crate::operation::{GpuInputs, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{CudaStorage, Result};

/// Blocks for 8 channels each, which add up the partial sums of blocks of rows.
pub(super) fn finishing(channels: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (channels.div_ceil(8) as u32, 1, 1), block_dim: (8, 32, 1), shared_mem_bytes: 0 }
}

impl OnGpu<1> for Statistics {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, channels, rows) = (x.storage.device(), self.channels, x.count() / self.channels);
        let width = width::<T>(channels, &[x.layout]);
        let config = reduction(rows, channels, width);
        let blocks = config.grid_dim.1;
        let mut partial = room::<f32>(device, (2 * blocks as usize + 1) * channels)?;
        let mut out = room::<f32>(device, 2 * channels)?;
        let (name, x) = (stamped::<T>("column_moments", width), x.view::<T>()?);
        let (rows, channels) = (rows as u64, channels as u32);
        launch!(device, &name, config, &x, &rows, &channels, &mut partial);
        let config = finishing(self.channels);
        launch!(device, "finish_moments", config, &partial, &blocks, &rows, &channels, &mut out);
        Ok(stored(out, device))
    }
}

impl OnGpu<1> for ColumnSum {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, channels, rows) = (x.storage.device(), self.channels, x.count() / self.channels);
        // The kernel's blocks have 32 channels, however few there are.
        let columns = channels.next_multiple_of(32);
        let config = reduction(rows, columns, 1);
        let blocks = config.grid_dim.1;
        let mut partial = room::<f64>(device, blocks as usize * channels)?;
        let mut out = room::<f32>(device, channels)?;
        let (name, x) = (stamped::<T>("column_sums", 1), x.view::<T>()?);
        let (rows, own) = (rows as u64, channels as u32);
        launch!(device, &name, config, &x, &rows, &own, &mut partial);
        launch!(device, "finish_column_sums_f64", finishing(channels), &partial, &blocks, &own, &mut out);
        Ok(stored(out, device))
    }
}
