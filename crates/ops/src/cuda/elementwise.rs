//! Sweeps over all elements.

use super::{Element, launch, per_element, room, sheet, stamped, stored, view, width};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{CudaStorage, DType, Layout, Result, bail};

/// `x + bias` along the last axis.
pub(crate) fn add_bias(x: &CudaStorage, xl: &Layout, bias: &CudaStorage, bl: &Layout) -> Result<CudaStorage> {
    let (device, count) = (x.device(), xl.shape().elem_count());
    let channels = bl.shape().elem_count() as u32;
    let mut out = room::<f32>(device, count)?;
    let (x, bias) = (view::<f32>(x, xl)?, view::<f32>(bias, bl)?);
    launch!(device, "add_bias_f32", per_element(count), &x, &bias, &(count as u64), &channels, &mut out);
    Ok(stored(out, device))
}

/// `x` (N, pixels, C) times `scale` (N, C).
pub(crate) fn scale_channels<T: Element>(
    x: &CudaStorage,
    xl: &Layout,
    scale: &CudaStorage,
    sl: &Layout,
) -> Result<CudaStorage> {
    let (device, count, [images, channels]) = (x.device(), xl.shape().elem_count(), matrix(sl)?);
    let rows = count / channels;
    let width = width::<T>(channels, &[xl]);
    let mut out = room::<T>(device, count)?;
    launch!(
        device,
        &stamped::<T>("scale_channels", width),
        sheet(rows, channels, width, 8),
        &view::<T>(x, xl)?,
        &view::<f32>(scale, sl)?,
        &((rows / images) as u64),
        &(rows as u64),
        &(channels as u32),
        &mut out,
    );
    Ok(stored(out, device))
}

fn matrix(layout: &Layout) -> Result<[usize; 2]> {
    let (rows, columns) = layout.shape().dims2()?;
    Ok([rows, columns])
}

/// `x` (N, ...) times `scale` (N).
pub(crate) fn scale_images(
    x: &CudaStorage,
    xl: &Layout,
    scale: &CudaStorage,
    sl: &Layout,
) -> Result<CudaStorage> {
    let (device, count) = (x.device(), xl.shape().elem_count());
    let size = (count / sl.shape().elem_count()) as u64;
    let mut out = room::<f32>(device, count)?;
    let (x, scale) = (view::<f32>(x, xl)?, view::<f32>(scale, sl)?);
    launch!(device, "scale_images_f32", per_element(count), &x, &scale, &(count as u64), &size, &mut out);
    Ok(stored(out, device))
}

/// Normalised image, f32 or f64, (N, C, H, W) to (N, H, W, C): `(x - mean) / std`, rounded to f32.
pub(crate) fn normalise(x: &CudaStorage, xl: &Layout, mean: &[f32], std: &[f32]) -> Result<CudaStorage> {
    match x.dtype() {
        DType::F64 => by_pixel::<f64>("normalise_f64", x, xl, mean, std),
        _ => by_pixel::<f32>("normalise_f32", x, xl, mean, std),
    }
}

/// Gradient of [`normalise`]: (N, H, W, C) to (N, C, H, W), divided by `std`.
pub(crate) fn normalise_gradient(gradient: &CudaStorage, gl: &Layout, std: &[f32]) -> Result<CudaStorage> {
    // The mean is not read.
    by_pixel::<f32>("normalise_gradient_f32", gradient, gl, std, std)
}

/// Kernel `name` over the pixels of images, one thread for all channels of a pixel.
fn by_pixel<S: CudaDType>(
    name: &str,
    x: &CudaStorage,
    xl: &Layout,
    mean: &[f32],
    std: &[f32],
) -> Result<CudaStorage> {
    let (device, count, channels) = (x.device(), xl.shape().elem_count(), mean.len());
    let (all, pixels) = (count / channels, count / channels / xl.dims()[0]);
    let constants = device.clone_htod(&[mean, std].concat())?;
    let mut out = room::<f32>(device, count)?;
    launch!(
        device,
        name,
        per_element(all),
        &view::<S>(x, xl)?,
        &constants,
        &(pixels as u64),
        &(channels as u32),
        &(all as u64),
        &mut out,
    );
    Ok(stored(out, device))
}

/// `clip01(image + step[n] * sign(gradient))`, images f32 or f64.
pub(crate) fn sign_step(
    image: &CudaStorage,
    il: &Layout,
    gradient: &CudaStorage,
    gl: &Layout,
    step: &CudaStorage,
    sl: &Layout,
) -> Result<CudaStorage> {
    let others = [(gradient, gl), (step, sl)];
    match image.dtype() {
        DType::F64 => over_images::<f64, f32>("sign_step_f64", (image, il), others),
        _ => over_images::<f32, f32>("sign_step_f32", (image, il), others),
    }
}

/// `clip01(min(max(image, origin - epsilon[n]), origin + epsilon[n]))`, images f32 or f64.
pub(crate) fn project(
    image: &CudaStorage,
    il: &Layout,
    origin: &CudaStorage,
    ol: &Layout,
    epsilon: &CudaStorage,
    el: &Layout,
) -> Result<CudaStorage> {
    let others = [(origin, ol), (epsilon, el)];
    match image.dtype() {
        DType::F64 => over_images::<f64, f64>("project_f64", (image, il), others),
        _ => over_images::<f32, f32>("project_f32", (image, il), others),
    }
}

/// Kernel `name` over images of elements S, with one array of as many elements O, and one of an element S an image.
fn over_images<S: CudaDType + DeviceRepr, O: CudaDType>(
    name: &str,
    (image, il): (&CudaStorage, &Layout),
    [(other, ol), (each, el)]: [(&CudaStorage, &Layout); 2],
) -> Result<CudaStorage> {
    let (device, count) = (image.device(), il.shape().elem_count());
    let size = (count / el.shape().elem_count()) as u64;
    let mut out = room::<S>(device, count)?;
    launch!(
        device,
        name,
        per_element(count),
        &view::<S>(image, il)?,
        &view::<O>(other, ol)?,
        &view::<S>(each, el)?,
        &size,
        &(count as u64),
        &mut out,
    );
    Ok(stored(out, device))
}

/// Sum of absolute values of each image of `x` (N, ...).
pub(crate) fn l1_norm(x: &CudaStorage, xl: &Layout) -> Result<CudaStorage> {
    let (device, images) = (x.device(), xl.dims()[0]);
    let size = xl.shape().elem_count() / images;
    if images > 65535 {
        bail!("l1_norm_per_image: expected at most 65535 images on a GPU, found {images}");
    }
    let parts = size.div_ceil(256 * 16).clamp(1, 256);
    let mut sums = room::<f64>(device, images * parts)?;
    let mut out = room::<f32>(device, images)?;
    launch!(
        device,
        "l1_norm_parts_f32",
        grid([parts, images, 1]),
        &view::<f32>(x, xl)?,
        &(size as u64),
        &mut sums
    );
    launch!(device, "sum_parts", grid([images, 1, 1]), &sums, &(parts as u32), &mut out);
    Ok(stored(out, device))
}

/// Blocks of 256 threads.
pub(crate) fn grid(blocks: [usize; 3]) -> LaunchConfig {
    let [x, y, z] = blocks.map(|blocks| blocks as u32);
    LaunchConfig { grid_dim: (x, y, z), block_dim: (256, 1, 1), shared_mem_bytes: 0 }
}
