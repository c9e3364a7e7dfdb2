//! Convolution, channels last: the output, and the gradients of input and weight.
//!
//! cuDNN's older interface computes each product of each shape the first time. If an algorithm fails,
//! the next one is taken, and after the last, patches and a matrix product. Then `alternatives` look
//! for a faster way: cublasLt for 1x1 convolutions, cuDNN's graph interface for bf16. A way is taken if
//! it gives the same numbers, and faster if times are measured. If it fails later, the older interface
//! is there. A bias with `ReLU` is a pass of its own unless a way adds it while it writes. bf16 channels are
//! padded to a multiple of eight.

mod alternatives;
mod cudnn;
mod descriptor;
mod epilogue;
mod graph;
mod graph_operations;
mod key;
mod padded;
mod patches;
mod plan;
mod products;
mod record;
mod trial;
mod warning;
mod way;

pub(super) use alternatives::{PATIENCE, is_undecided};
pub(super) use epilogue::Epilogue;
pub use plan::convolution_records;
pub use record::ConvolutionRecord;

use super::channels::add_bias_to;
use super::element::Element;
use super::memory::{room, stored, view_mut};
use crate::convolution::{Conv2d, Conv2dBias, InputGradient, WeightGradient};
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::result::memcpy_dtod_async;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result};
use cudnn::Tensors;
use key::{Key, Product};
use plan::{Attempt, with_plan};
use std::ffi::c_void;

impl OnGpu<2> for Conv2d {
    fn compute<T: Element>(&self, [x, weight]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        output::<T>(self, x, weight, None)
    }
}

impl OnGpu<3> for Conv2d {
    fn compute<T: Element>(&self, [x, weight, residual]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        output::<T>(self, x, weight, Some(Epilogue::Add(residual)))
    }
}

impl OnGpu<3> for Conv2dBias {
    fn compute<T: Element>(&self, [x, weight, bias]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let mut out = output::<T>(&self.0, x, weight, None)?;
        let layout = Layout::contiguous(self.0.geometry.output_shape());
        add_bias_to::<T>(&mut out, &layout, bias)?;
        Ok(out)
    }
}

impl OnGpu<2> for InputGradient {
    fn compute<T: Element>(&self, inputs: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        compute::<T>(&self.0, Product::InputGradient, inputs, None)
    }
}

impl OnGpu<3> for InputGradient {
    fn compute<T: Element>(&self, [weight, gradient, added]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        compute::<T>(&self.0, Product::InputGradient, [weight, gradient], Some(Epilogue::Add(added)))
    }
}

impl OnGpu<2> for WeightGradient {
    fn compute<T: Element>(&self, [x, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        weight_gradient::<T>(&self.0, x, gradient)
    }
}

/// Output (N, OH, OW, O) after `epilogue`.
pub(super) fn output<T: Element>(
    convolution: &Conv2d,
    x: Input<'_, CudaStorage>,
    weight: Input<'_, CudaStorage>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
) -> Result<CudaStorage> {
    compute::<T>(convolution, Product::Output, [x, weight], epilogue)
}

/// Gradient of the input (N, H, W, I).
pub(super) fn input_gradient<T: Element>(
    convolution: &Conv2d,
    weight: Input<'_, CudaStorage>,
    gradient: Input<'_, CudaStorage>,
) -> Result<CudaStorage> {
    compute::<T>(convolution, Product::InputGradient, [weight, gradient], None)
}

/// Gradient of the weight (O, KH, KW, I).
pub(super) fn weight_gradient<T: Element>(
    convolution: &Conv2d,
    x: Input<'_, CudaStorage>,
    gradient: Input<'_, CudaStorage>,
) -> Result<CudaStorage> {
    compute::<T>(convolution, Product::WeightGradient, [x, gradient], None)
}

/// `product` of the two `inputs`, in the order input, weight, gradient of the output, after `epilogue`.
fn compute<T: Element>(
    convolution: &Conv2d,
    product: Product,
    inputs: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
) -> Result<CudaStorage> {
    let Conv2d { geometry, arithmetic } = *convolution;
    let key = Key { product, geometry, elements: T::NAME, arithmetic };
    match padded::wider::<T>(&key) {
        Some(wide) => padded::compute::<T>(&key, &wide, inputs, epilogue),
        None => straight::<T>(&key, inputs, epilogue),
    }
}

/// The product `key` without padding.
fn straight<T: Element>(
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    epilogue: Option<Epilogue<Input<'_, CudaStorage>>>,
) -> Result<CudaStorage> {
    let device = inputs[0].storage.device();
    if let Some(out) = alternatives::compute::<T>(device, key, inputs, epilogue)? {
        return Ok(out);
    }
    let residual = match epilogue {
        Some(Epilogue::BiasRelu(bias)) => return separately::<T>(key, inputs, bias),
        Some(Epilogue::Add(residual)) => Some(residual),
        None => None,
    };
    let Some(out) = by_cudnn::<T>(device, key, inputs, residual)? else {
        return patches::compute::<T>(key, inputs, residual);
    };
    alternatives::consider::<T>(device, key, inputs, epilogue, &out);
    // A resumed run has to compute the same bits, so the first result is the chosen way's, too.
    Ok(alternatives::compute::<T>(device, key, inputs, epilogue)?.unwrap_or(out))
}

/// The product `key`, then `bias` and `ReLU` in a pass of its own, which says what is right, and is taken
/// until a way does both.
fn separately<T: Element>(
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    bias: Input<'_, CudaStorage>,
) -> Result<CudaStorage> {
    let (g, device) = (&key.geometry, inputs[0].storage.device());
    let mut out = straight::<T>(key, inputs, None)?;
    {
        let stream = device.cuda_stream();
        let bias = bias.view::<T>()?;
        let mut output = view_mut::<T>(&mut out, &Layout::contiguous(g.output_shape()))?;
        let ((output, _output), (bias, _bias)) = (output.device_ptr_mut(&stream), bias.device_ptr(&stream));
        epilogue::bias_relu::<T>(device, g, output, bias)?;
    }
    let epilogue = Some(Epilogue::BiasRelu(bias));
    alternatives::consider::<T>(device, key, inputs, epilogue, &out);
    Ok(alternatives::compute::<T>(device, key, inputs, epilogue)?.unwrap_or(out))
}

/// `None` if no algorithm of cuDNN works.
fn by_cudnn<T: Element>(
    device: &CudaDevice,
    key: &Key,
    inputs: GpuInputs<'_, 2>,
    residual: Option<Input<'_, CudaStorage>>,
) -> Result<Option<CudaStorage>> {
    let (g, stream) = (&key.geometry, device.cuda_stream());
    let [first, second] = [inputs[0].view::<T>()?, inputs[1].view::<T>()?];
    let residual = residual.map(Input::view::<T>).transpose()?;
    let mut out = room::<T>(device, key.product.size(g))?;
    let bytes = out.num_bytes();
    let done = {
        let [(first, _first), (second, _second)] = [&first, &second].map(|view| view.device_ptr(&stream));
        let residual = residual.as_ref().map(|residual| residual.device_ptr(&stream));
        let (target, _out) = out.device_ptr_mut(&stream);
        let [first, second, result] = [first, second, target].map(|address| address as *mut c_void);
        let tensors = match key.product {
            Product::Output => Tensors { input: first, weight: second, output: result },
            Product::InputGradient => Tensors { input: result, weight: first, output: second },
            Product::WeightGradient => Tensors { input: first, weight: result, output: second },
        };
        with_plan::<T, _>(device, key, tensors, |plan, library| {
            loop {
                if let Some((residual, _)) = &residual {
                    // SAFETY: a residual has the output's shape. It replaces whatever measuring, or
                    // a failed attempt, wrote.
                    unsafe { memcpy_dtod_async(target, *residual, bytes, stream.cu_stream()) }
                        .map_err(Error::wrap)?;
                }
                match plan.attempt(library, device, tensors, residual.is_some()) {
                    Attempt::Done => return Ok(true),
                    Attempt::Failed => {}
                    Attempt::NothingLeft => return Ok(false),
                }
            }
        })?
    };
    Ok(done.then(|| stored(out, device)))
}
