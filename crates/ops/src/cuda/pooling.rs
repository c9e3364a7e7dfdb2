//! Maximum and adaptive average pooling.

use super::{Element, launch, per_element, room, sheet, stamped, stored, view, width};
use crate::cpu::pooling::MaxPool;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{CudaStorage, Layout, Result, bail};

/// [`MaxPool`] as the kernels have it.
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

/// Largest value under each window; a NaN wins.
pub(crate) fn max_pool<T: Element>(g: &MaxPool, x: &CudaStorage, xl: &Layout) -> Result<CudaStorage> {
    let (device, channels) = (x.device(), g.input[2]);
    let width = width::<T>(channels, &[xl]);
    let count = xl.dims()[0] * g.output[0] * g.output[1] * channels;
    let threads = count / width;
    let mut out = room::<T>(device, count)?;
    let name = stamped::<T>("max_pool", width);
    let x = view::<T>(x, xl)?;
    launch!(device, &name, per_element(threads), &x, &Window::from(g), &(threads as u64), &mut out);
    Ok(stored(out, device))
}

/// Each output's gradient goes to the first largest input of its window.
pub(crate) fn max_pool_gradient<T: Element>(
    g: &MaxPool,
    x: &CudaStorage,
    xl: &Layout,
    out: &CudaStorage,
    ol: &Layout,
    gradient: &CudaStorage,
    gl: &Layout,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), xl.shape().elem_count());
    let width = width::<T>(g.input[2], &[xl, ol, gl]);
    let threads = count / width;
    let mut result = room::<T>(device, count)?;
    launch!(
        device,
        &stamped::<T>("max_pool_gradient", width),
        per_element(threads),
        &view::<T>(x, xl)?,
        &view::<T>(out, ol)?,
        &view::<T>(gradient, gl)?,
        &Window::from(g),
        &(threads as u64),
        &mut result,
    );
    Ok(stored(result, device))
}

const LEVELS: usize = 8;

/// The levels of a pyramid as the kernels have them.
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
    fn new(input: [usize; 3], bins: &[usize]) -> Result<Self> {
        if bins.len() > LEVELS {
            bail!("adaptive_avg_pool2d: expected at most {LEVELS} levels on a GPU, found {}", bins.len());
        }
        let [height, width, channels] = input.map(|size| size as u32);
        let regions = bins.iter().map(|bins| bins * bins).sum::<usize>() as u32;
        let mut all = [0; LEVELS];
        for (level, bins) in all.iter_mut().zip(bins) {
            *level = *bins as u32;
        }
        Ok(Self { height, width, channels, regions, count: bins.len() as u32, bins: all })
    }
}

/// Mean over each region, (N, regions, C).
pub(crate) fn adaptive_average<T: Element>(
    x: &CudaStorage,
    xl: &Layout,
    input: [usize; 3],
    bins: &[usize],
) -> Result<CudaStorage> {
    let (device, images, channels) = (x.device(), xl.dims()[0], input[2]);
    let levels = Levels::new(input, bins)?;
    if images > 65535 || levels.regions > 65535 {
        bail!("adaptive_avg_pool2d: expected at most 65535 images and regions on a GPU");
    }
    let width = width::<T>(channels, &[xl]);
    let LaunchConfig { grid_dim, block_dim, .. } = sheet(1, channels, width, 1);
    let config = LaunchConfig {
        grid_dim: (grid_dim.0, levels.regions, images as u32),
        block_dim,
        shared_mem_bytes: 0,
    };
    let mut out = room::<T>(device, images * levels.regions as usize * channels)?;
    let name = stamped::<T>("adaptive_average", width);
    launch!(device, &name, config, &view::<T>(x, xl)?, &levels, &mut out);
    Ok(stored(out, device))
}

/// Every input pixel receives the gradient of each region that it is in, over that region's number of pixels.
pub(crate) fn adaptive_average_gradient<T: Element>(
    gradient: &CudaStorage,
    gl: &Layout,
    input: [usize; 3],
    bins: &[usize],
) -> Result<CudaStorage> {
    let (device, levels) = (gradient.device(), Levels::new(input, bins)?);
    let width = width::<T>(input[2], &[gl]);
    let count = gl.dims()[0] * input.iter().product::<usize>();
    let threads = count / width;
    let mut out = room::<T>(device, count)?;
    let name = stamped::<T>("adaptive_average_gradient", width);
    let gradient = view::<T>(gradient, gl)?;
    launch!(device, &name, per_element(threads), &gradient, &levels, &(threads as u64), &mut out);
    Ok(stored(out, device))
}
