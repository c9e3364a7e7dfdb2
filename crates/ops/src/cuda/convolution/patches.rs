//! Convolution without cuDNN, for want of an algorithm that works: patches of the image, and cuBLAS. All of it in f32, image by image;
//! slow, but right.

use super::{Argument, Product};
use crate::cpu::convolution::Geometry;
use crate::cuda::{Element, launch, per_element, room, stored, view};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::op::Add;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result};

/// [`Geometry`] of one image as the kernels have it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Window {
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for Window {}

impl From<&Geometry> for Window {
    fn from(g: &Geometry) -> Self {
        let [height, width, channels] = g.input.map(|size| size as u32);
        let [out_height, out_width, _] = g.output.map(|size| size as u32);
        let [kernel_height, kernel_width] = g.kernel.map(|size| size as u32);
        let [stride, padding, dilation] = [g.stride, g.padding, g.dilation].map(|size| size as u32);
        Self {
            height,
            width,
            channels,
            out_height,
            out_width,
            kernel_height,
            kernel_width,
            stride,
            padding,
            dilation,
        }
    }
}

/// Sizes of the matrices: pixels and channels of an image's output, elements of a patch, elements of an image.
struct Sizes {
    pixels: usize,
    outputs: usize,
    patch: usize,
    image: usize,
}

/// `product` of the two `arguments`, which come in the order input, weight, output's gradient; with `residual` added to it.
pub(super) fn compute<T: Element>(
    g: &Geometry,
    product: Product,
    arguments: [Argument<'_>; 2],
    residual: Option<Argument<'_>>,
) -> Result<CudaStorage> {
    let device = arguments[0].0.device();
    let sizes = Sizes {
        pixels: g.output[0] * g.output[1],
        outputs: g.output[2],
        patch: g.kernel.iter().product::<usize>() * g.input[2],
        image: g.input.iter().product(),
    };
    let wide = |(storage, layout): Argument<'_>| storage.to_dtype(layout, DType::F32);
    let [first, second] = arguments.map(wide);
    let (first, second) = (first?, second?);
    let whole = Layout::contiguous(product.size(g));
    let mut out = match product {
        Product::Output => output(device, g, &sizes, &first, &second)?,
        Product::InputGradient => input_gradient(device, g, &sizes, &first, &second)?,
        Product::WeightGradient => weight_gradient(device, g, &sizes, &first, &second)?,
    };
    if let Some(residual) = residual {
        out = out.binary_impl::<Add>(&wide(residual)?, &whole, &whole)?;
    }
    if T::TYPE == DType::F32 { Ok(out) } else { out.to_dtype(&whole, T::TYPE) }
}

/// The patches of image `index`: a row for each pixel of the output.
fn patches(
    device: &CudaDevice,
    g: &Geometry,
    sizes: &Sizes,
    x: &CudaStorage,
    index: usize,
) -> Result<CudaStorage> {
    let count = sizes.pixels * sizes.patch;
    let image = view::<f32>(x, &Layout::contiguous_with_offset(sizes.image, index * sizes.image))?;
    let mut rows = room::<f32>(device, count)?;
    launch!(device, "patches_f32", per_element(count), &image, &Window::from(g), &(count as u64), &mut rows);
    Ok(stored(rows, device))
}

/// Puts `part` behind `index` others of its size.
fn put(device: &CudaDevice, part: &CudaStorage, out: &mut CudaSlice<f32>, index: usize) -> Result<()> {
    let part = part.as_cuda_slice::<f32>()?;
    let size = part.len();
    let mut place = out.slice_mut(index * size..(index + 1) * size);
    device.cuda_stream().memcpy_dtod(part, &mut place).map_err(Error::wrap)
}

fn output(
    device: &CudaDevice,
    g: &Geometry,
    sizes: &Sizes,
    x: &CudaStorage,
    weight: &CudaStorage,
) -> Result<CudaStorage> {
    let &Sizes { pixels, outputs, patch, .. } = sizes;
    let mut out = room::<f32>(device, Product::Output.size(g))?;
    let columns = Layout::contiguous((outputs, patch)).transpose(0, 1)?;
    for index in 0..g.batch {
        let rows = patches(device, g, sizes, x, index)?;
        let layout = Layout::contiguous((pixels, patch));
        let part = rows.matmul(weight, (1, pixels, outputs, patch), &layout, &columns)?;
        put(device, &part, &mut out, index)?;
    }
    Ok(stored(out, device))
}

fn input_gradient(
    device: &CudaDevice,
    g: &Geometry,
    sizes: &Sizes,
    weight: &CudaStorage,
    gradient: &CudaStorage,
) -> Result<CudaStorage> {
    let &Sizes { pixels, outputs, patch, image } = sizes;
    let mut out = room::<f32>(device, Product::InputGradient.size(g))?;
    let matrix = Layout::contiguous((outputs, patch));
    for index in 0..g.batch {
        let layout = Layout::contiguous_with_offset((pixels, outputs), index * pixels * outputs);
        let rows = gradient.matmul(weight, (1, pixels, patch, outputs), &layout, &matrix)?;
        let rows = view::<f32>(&rows, &Layout::contiguous(pixels * patch))?;
        let mut part = out.slice_mut(index * image..(index + 1) * image);
        let window = Window::from(g);
        launch!(
            device,
            "patches_gradient_f32",
            per_element(image),
            &rows,
            &window,
            &(image as u64),
            &mut part
        );
    }
    Ok(stored(out, device))
}

fn weight_gradient(
    device: &CudaDevice,
    g: &Geometry,
    sizes: &Sizes,
    x: &CudaStorage,
    gradient: &CudaStorage,
) -> Result<CudaStorage> {
    let &Sizes { pixels, outputs, patch, .. } = sizes;
    let whole = Layout::contiguous(outputs * patch);
    let mut sum: Option<CudaStorage> = None;
    for index in 0..g.batch {
        let rows = patches(device, g, sizes, x, index)?;
        let start = index * pixels * outputs;
        let layout = Layout::contiguous_with_offset((pixels, outputs), start).transpose(0, 1)?;
        let columns = Layout::contiguous((pixels, patch));
        let part = gradient.matmul(&rows, (1, outputs, patch, pixels), &layout, &columns)?;
        sum = Some(match sum {
            Some(sum) => sum.binary_impl::<Add>(&part, &whole, &whole)?,
            None => part,
        });
    }
    sum.ok_or_else(|| Error::msg("conv2d: a batch without images has no gradient"))
}
