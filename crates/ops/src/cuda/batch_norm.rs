//! Batch norm with its activation.

use super::column_sums::finishing;
use super::element::{Element, stamped, width};
use super::launch::{launch, reduction, sheet};
use super::memory::{address, room, storage_of, stored, view_mut};
use crate::batch_norm::{
    Activation, InputGradient, Normalisation, ParameterGradients, ReluGradient, ResidualNorm,
};
use crate::in_place::UpdateOnGpu;
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaView, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Tensor};

/// Rows that a thread of a sweep has, for which it reads its channels' values once.
const SWEPT: usize = 8;

/// Statistics and parameters of a batch norm, each (C).
pub(super) struct Norm<'a> {
    mean: CudaView<'a, f32>,
    variance: CudaView<'a, f32>,
    weight: CudaView<'a, f32>,
    bias: CudaView<'a, f32>,
    eps: f32,
    /// 1 before a `ReLU`, otherwise 0.
    relu: u32,
}

impl Norm<'_> {
    fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Calls `work` with the statistics that `norm` holds and with `weight` and `bias`.
    pub(super) fn with<R>(
        norm: &Normalisation,
        [weight, bias]: [CudaView<'_, f32>; 2],
        work: impl FnOnce(&Norm<'_>) -> Result<R>,
    ) -> Result<R> {
        let ((mean, ml), (variance, vl)) =
            (norm.mean.storage_and_layout(), norm.variance.storage_and_layout());
        let mean = Input { storage: storage_of(&mean, "batch_norm")?, layout: ml }.view()?;
        let variance = Input { storage: storage_of(&variance, "batch_norm")?, layout: vl }.view()?;
        let relu = u32::from(norm.activation == Activation::Relu);
        work(&Norm { mean, variance, weight, bias, eps: norm.eps, relu })
    }
}

/// Weight and bias, of which `parameters` (2, C) consist.
pub(super) fn halves(parameters: Input<'_, CudaStorage>) -> Result<[CudaView<'_, f32>; 2]> {
    let (both, (_, channels)) = (parameters.view::<f32>()?, parameters.layout.shape().dims2()?);
    Ok([both.slice(..channels), both.slice(channels..)])
}

impl OnGpu<3> for Normalisation {
    fn compute<T: Element>(&self, [x, weight, bias]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        Norm::with(self, [weight.view()?, bias.view()?], |norm| scale_shift::<T>(x, norm))
    }
}

impl OnGpu<3> for ResidualNorm {
    fn compute<T: Element>(&self, [x, parameters, residual]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        Norm::with(&self.0, halves(parameters)?, |norm| scale_shift_add_relu::<T>(x, residual, norm))
    }
}

impl UpdateOnGpu<2> for Normalisation {
    fn update<T: Element>(
        &self,
        x: &mut CudaStorage,
        layout: &Layout,
        [weight, bias]: GpuInputs<'_, 2>,
    ) -> Result<()> {
        Norm::with(self, [weight.view()?, bias.view()?], |norm| scale_shift_in_place::<T>(x, layout, norm))
    }
}

impl UpdateOnGpu<2> for ResidualNorm {
    fn update<T: Element>(
        &self,
        x: &mut CudaStorage,
        layout: &Layout,
        [parameters, residual]: GpuInputs<'_, 2>,
    ) -> Result<()> {
        Norm::with(&self.0, halves(parameters)?, |norm| {
            scale_shift_add_relu_in_place::<T>(x, layout, residual, norm)
        })
    }
}

impl OnGpu<2> for ReluGradient {
    fn compute<T: Element>(&self, [output, gradient]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (output.storage.device(), output.count());
        let channels = output.dims().last().copied().unwrap_or(1);
        let rows = count / channels;
        let width = width::<T>(channels, &[output.layout, gradient.layout]);
        let mut passed = room::<T>(device, count)?;
        launch!(
            device,
            &stamped::<T>("relu_gradient", width),
            sheet(rows, channels, width, SWEPT),
            &output.view::<T>()?,
            &gradient.view::<T>()?,
            &(rows as u64),
            &(channels as u32),
            &mut passed,
        );
        Ok(stored(passed, device))
    }
}

impl OnGpu<3> for ParameterGradients<'_> {
    fn compute<T: Element>(&self, [x, gradient, parameters]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        Norm::with(self.0, halves(parameters)?, |norm| parameter_gradients::<T>(x, gradient, norm))
    }
}

impl UpdateOnGpu<2> for InputGradient<'_> {
    fn update<T: Element>(
        &self,
        gradient: &mut CudaStorage,
        layout: &Layout,
        [x, parameters]: GpuInputs<'_, 2>,
    ) -> Result<()> {
        let sums = self.sums.map(Tensor::storage_and_layout);
        let sums = sums
            .as_ref()
            .map(|(sums, layout)| Input { storage: storage_of(sums, "batch_norm")?, layout }.view::<f32>());
        let sums = sums.transpose()?;
        Norm::with(self.norm, halves(parameters)?, |norm| {
            input_gradient::<T>(gradient, layout, x, norm, sums.as_ref(), self.found)
        })
    }
}

/// The normalised `x` after the activation.
pub(super) fn scale_shift<T: Element>(x: Input<'_, CudaStorage>, norm: &Norm<'_>) -> Result<CudaStorage> {
    let (device, layout, count) = (x.storage.device(), x.layout, x.count());
    let (x, mut out, stream) = (x.view::<T>()?, room::<T>(device, count)?, device.cuda_stream());
    let ((from, _from), (to, to_guard)) = (x.device_ptr(&stream), out.device_ptr_mut(&stream));
    scale_shift_to::<T>(device, [from, to], layout, norm)?;
    drop(to_guard);
    Ok(stored(out, device))
}

/// [`scale_shift`] with `x` as its output.
fn scale_shift_in_place<T: Element>(x: &mut CudaStorage, layout: &Layout, norm: &Norm<'_>) -> Result<()> {
    let device: CudaDevice = x.device().clone();
    let (mut x, stream) = (view_mut::<T>(x, layout)?, device.cuda_stream());
    let (place, _guard) = x.device_ptr_mut(&stream);
    scale_shift_to::<T>(&device, [place, place], layout, norm)
}

/// Normalises the numbers of `layout` from the address `from` to the address `to`, which may be the same.
fn scale_shift_to<T: Element>(
    device: &CudaDevice,
    [from, to]: [u64; 2],
    layout: &Layout,
    norm: &Norm<'_>,
) -> Result<()> {
    let channels = norm.channels();
    let rows = layout.shape().elem_count() / channels;
    let width = width::<T>(channels, &[layout]);
    launch!(
        device,
        &stamped::<T>("scale_shift", width),
        sheet(rows, channels, width, SWEPT),
        &from,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &norm.relu,
        &(rows as u64),
        &(channels as u32),
        &to,
    );
    Ok(())
}

/// The normalised `x` plus `residual`, after the `ReLU`.
fn scale_shift_add_relu<T: Element>(
    x: Input<'_, CudaStorage>,
    residual: Input<'_, CudaStorage>,
    norm: &Norm<'_>,
) -> Result<CudaStorage> {
    let (device, layout, count) = (x.storage.device(), x.layout, x.count());
    let (x, mut out, stream) = (x.view::<T>()?, room::<T>(device, count)?, device.cuda_stream());
    let ((from, _from), (to, to_guard)) = (x.device_ptr(&stream), out.device_ptr_mut(&stream));
    scale_shift_add_relu_to::<T>(device, [from, to], layout, residual, norm)?;
    drop(to_guard);
    Ok(stored(out, device))
}

/// [`scale_shift_add_relu`] with `x` as its output.
fn scale_shift_add_relu_in_place<T: Element>(
    x: &mut CudaStorage,
    layout: &Layout,
    residual: Input<'_, CudaStorage>,
    norm: &Norm<'_>,
) -> Result<()> {
    let device: CudaDevice = x.device().clone();
    let (mut x, stream) = (view_mut::<T>(x, layout)?, device.cuda_stream());
    let (place, _guard) = x.device_ptr_mut(&stream);
    scale_shift_add_relu_to::<T>(&device, [place, place], layout, residual, norm)
}

/// Normalises the numbers of `layout` from the address `from`, adds `residual`, and writes what the `ReLU`
/// leaves to the address `to`, which may be the same.
fn scale_shift_add_relu_to<T: Element>(
    device: &CudaDevice,
    [from, to]: [u64; 2],
    layout: &Layout,
    residual: Input<'_, CudaStorage>,
    norm: &Norm<'_>,
) -> Result<()> {
    let channels = norm.channels();
    let rows = layout.shape().elem_count() / channels;
    let width = width::<T>(channels, &[layout, residual.layout]);
    launch!(
        device,
        &stamped::<T>("scale_shift_add_relu", width),
        sheet(rows, channels, width, SWEPT),
        &from,
        &residual.view::<T>()?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &(rows as u64),
        &(channels as u32),
        &to,
    );
    Ok(())
}

/// The gradients of weight and bias, (2, C).
fn parameter_gradients<T: Element>(
    x: Input<'_, CudaStorage>,
    gradient: Input<'_, CudaStorage>,
    norm: &Norm<'_>,
) -> Result<CudaStorage> {
    let (device, channels) = (x.storage.device(), norm.channels());
    let rows = x.count() / channels;
    let width = width::<T>(channels, &[x.layout, gradient.layout]);
    let config = reduction(rows, channels, width);
    let blocks = config.grid_dim.1;
    let mut partial = room::<f32>(device, 2 * blocks as usize * channels)?;
    let mut out = room::<f32>(device, 2 * channels)?;
    launch!(
        device,
        &stamped::<T>("parameter_gradients", width),
        config,
        &x.view::<T>()?,
        &gradient.view::<T>()?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &norm.relu,
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

/// Turns the output's gradient into the input's, in place, and adds `found` to it. `sums` are the
/// gradients of weight and bias if the statistics are those of `x`.
fn input_gradient<T: Element>(
    gradient: &mut CudaStorage,
    layout: &Layout,
    x: Input<'_, CudaStorage>,
    norm: &Norm<'_>,
    sums: Option<&CudaView<'_, f32>>,
    found: Option<&Tensor>,
) -> Result<()> {
    let (device, channels): (CudaDevice, _) = (x.storage.device().clone(), norm.channels());
    let rows = x.count() / channels;
    let added = found.map_or(layout, Tensor::layout);
    let width = width::<T>(channels, &[x.layout, layout, added]);
    // Null without one.
    let added = found.map_or(Ok(0), |found| address::<T>(&device, found))?;
    launch!(
        &device,
        &stamped::<T>("input_gradient", width),
        sheet(rows, channels, width, SWEPT),
        &mut view_mut::<T>(gradient, layout)?,
        &x.view::<T>()?,
        &norm.mean,
        &norm.variance,
        &norm.weight,
        &norm.bias,
        &norm.eps,
        &norm.relu,
        &(rows as u64),
        &(channels as u32),
        // Without batch statistics the kernel does not read it, but needs an argument.
        sums.unwrap_or(&norm.mean),
        &u32::from(sums.is_some()),
        &added,
    );
    Ok(())
}
