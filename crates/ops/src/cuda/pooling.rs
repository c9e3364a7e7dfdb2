//! Maximum and adaptive average pooling.

use super::element::{Element, stamped, width};
use super::launch::{launch, per_element, sheet};
use super::memory::{room, stored};
use crate::operation::{GpuInputs, OnGpu};
use crate::pooling::{AdaptiveAverage, AdaptiveAverageGradient, MaxPool, MaxPoolGradient};
use crate::regions::Regions;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{CudaStorage, Result, bail};

/// [`MaxPool`] as the kernels read it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Window {
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for Window {}

impl From<&MaxPool> for Window {
    fn from(pool: &MaxPool) -> Self {
        let [height, width, channels] = pool.input.map(|size| size as u32);
        let [out_height, out_width] = pool.output.map(|size| size as u32);
        let [kernel, stride, padding] = [pool.kernel, pool.stride, pool.padding].map(|size| size as u32);
        Self { height, width, channels, out_height, out_width, kernel, stride, padding }
    }
}

impl OnGpu<1> for MaxPool {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, channels) = (x.storage.device(), self.input[2]);
        let width = width::<T>(channels, &[x.layout]);
        let count = x.dims()[0] * self.output[0] * self.output[1] * channels;
        let threads = count / width;
        let mut out = room::<T>(device, count)?;
        let (name, x) = (stamped::<T>("max_pool", width), x.view::<T>()?);
        let window = Window::from(self);
        launch!(device, &name, per_element(threads), &x, &window, &(threads as u64), &mut out);
        Ok(stored(out, device))
    }
}

impl OnGpu<3> for MaxPoolGradient {
    fn compute<T: Element>(&self, [x, out, gradient]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let width = width::<T>(self.0.input[2], &[x.layout, out.layout, gradient.layout]);
        let threads = count / width;
        let mut result = room::<T>(device, count)?;
        launch!(
            device,
            &stamped::<T>("max_pool_gradient", width),
            per_element(threads),
            &x.view::<T>()?,
            &out.view::<T>()?,
            &gradient.view::<T>()?,
            &Window::from(&self.0),
            &(threads as u64),
            &mut result,
        );
        Ok(stored(result, device))
    }
}

/// Levels that the kernels have room for.
const LEVELS: usize = 8;

/// The levels of a pyramid as the kernels read them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Levels {
    height: u32,
    width: u32,
    channels: u32,
    regions: u32,
    count: u32,
    bins: [u32; LEVELS],
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for Levels {}

impl Levels {
    fn new(regions: &Regions) -> Result<Self> {
        let (levels, count) = (&regions.levels, regions.levels.len());
        if count > LEVELS {
            bail!("adaptive_avg_pool2d: expected at most {LEVELS} levels on a GPU, found {count}");
        }
        let [height, width, channels] = regions.input.map(|size| size as u32);
        let mut bins = [0; LEVELS];
        for (bins, level) in bins.iter_mut().zip(levels) {
            *bins = level.bins as u32;
        }
        Ok(Self { height, width, channels, regions: regions.count() as u32, count: count as u32, bins })
    }
}

impl OnGpu<1> for AdaptiveAverage {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, images, channels) = (x.storage.device(), x.dims()[0], self.0.input[2]);
        let levels = Levels::new(&self.0)?;
        if images > 65535 || levels.regions > 65535 {
            bail!("adaptive_avg_pool2d: expected at most 65535 images and regions on a GPU");
        }
        let width = width::<T>(channels, &[x.layout]);
        let LaunchConfig { grid_dim, block_dim, .. } = sheet(1, channels, width, 1);
        let config = LaunchConfig {
            grid_dim: (grid_dim.0, levels.regions, images as u32),
            block_dim,
            shared_mem_bytes: 0,
        };
        let mut out = room::<T>(device, images * levels.regions as usize * channels)?;
        let name = stamped::<T>("adaptive_average", width);
        launch!(device, &name, config, &x.view::<T>()?, &levels, &mut out);
        Ok(stored(out, device))
    }
}

impl OnGpu<1> for AdaptiveAverageGradient<'_> {
    fn compute<T: Element>(&self, [gradient]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        let (device, input, levels) = (gradient.storage.device(), self.0.input, Levels::new(self.0)?);
        let width = width::<T>(input[2], &[gradient.layout]);
        let count = gradient.dims()[0] * input.iter().product::<usize>();
        let threads = count / width;
        let mut out = room::<T>(device, count)?;
        let (name, gradient) = (stamped::<T>("adaptive_average_gradient", width), gradient.view::<T>()?);
        launch!(device, &name, per_element(threads), &gradient, &levels, &(threads as u64), &mut out);
        Ok(stored(out, device))
    }
}
