//! Arithmetic on each channel.

use super::constants::constants;
use super::element::{Element, stamped, width};
use super::launch::{launch, per_element, sheet};
use super::memory::{room, stored, view_mut};
use crate::channels::{AddBias, Normalise, NormaliseGradient, ScaleChannels, ScaleRows};
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result};

impl OnGpu<2> for AddBias {
    fn compute<T: Element>(&self, [x, bias]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let width = width::<T>(bias.count(), &[x.layout]);
        let (x, mut out) = (x.view::<T>()?, room::<T>(device, count)?);
        let stream = device.cuda_stream();
        let ((from, _from), (to, to_guard)) = (x.device_ptr(&stream), out.device_ptr_mut(&stream));
        sum_with::<T>(device, bias, width, count, [from, to])?;
        drop(to_guard);
        Ok(stored(out, device))
    }
}

/// Adds `bias` (C) to all rows of `x` (..., C), in place.
pub(super) fn add_bias_to<T: Element>(
    x: &mut CudaStorage,
    layout: &Layout,
    bias: Input<'_, CudaStorage>,
) -> Result<()> {
    let device: CudaDevice = x.device().clone();
    let (width, count) = (width::<T>(bias.count(), &[layout]), layout.shape().elem_count());
    let (mut x, stream) = (view_mut::<T>(x, layout)?, device.cuda_stream());
    let (place, _guard) = x.device_ptr_mut(&stream);
    sum_with::<T>(&device, bias, width, count, [place, place])
}

/// `count` numbers at the address `from` plus `bias`, at the address `to`, which may be the same.
fn sum_with<T: Element>(
    device: &CudaDevice,
    bias: Input<'_, CudaStorage>,
    width: usize,
    count: usize,
    [from, to]: [u64; 2],
) -> Result<()> {
    let channels = bias.count();
    let rows = count / channels;
    launch!(
        device,
        &stamped::<T>("add_bias", width),
        sheet(rows, channels, width, 8),
        &from,
        &bias.view::<f32>()?,
        &(rows as u64),
        &(channels as u32),
        &to,
    );
    Ok(())
}

impl OnGpu<2> for ScaleChannels {
    fn compute<T: Element>(&self, [x, scale]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let (images, channels) = scale.layout.shape().dims2()?;
        let rows = count / channels;
        let width = width::<T>(channels, &[x.layout]);
        let mut out = room::<T>(device, count)?;
        launch!(
            device,
            &stamped::<T>("scale_channels", width),
            sheet(rows, channels, width, 8),
            &x.view::<T>()?,
            &scale.view::<f32>()?,
            &((rows / images) as u64),
            &(rows as u64),
            &(channels as u32),
            &mut out,
        );
        Ok(stored(out, device))
    }
}

impl OnGpu<2> for ScaleRows {
    fn compute<T: Element>(&self, [x, scale]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (device, count) = (x.storage.device(), x.count());
        let size = (count / scale.count()) as u64;
        let mut out = room::<f32>(device, count)?;
        let (x, scale) = (x.view::<f32>()?, scale.view::<f32>()?);
        launch!(device, "scale_rows_f32", per_element(count), &x, &scale, &(count as u64), &size, &mut out);
        Ok(stored(out, device))
    }
}

impl OnGpu<1> for Normalise {
    fn compute<T: Element>(&self, [x]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        match x.storage.dtype() {
            DType::F64 => by_pixel::<f64>("normalise_f64", x, &self.mean, &self.std),
            _ => by_pixel::<f32>("normalise_f32", x, &self.mean, &self.std),
        }
    }
}

impl OnGpu<1> for NormaliseGradient<'_> {
    fn compute<T: Element>(&self, [gradient]: GpuInputs<'_, 1>) -> Result<CudaStorage> {
        // The kernel does not read the mean.
        by_pixel::<f32>("normalise_gradient_f32", gradient, &self.0.std, &self.0.std)
    }
}

/// Kernel `name` over the pixels of images, one thread for all channels of a pixel.
fn by_pixel<S: CudaDType>(
    name: &str,
    x: Input<'_, CudaStorage>,
    mean: &[f32],
    std: &[f32],
) -> Result<CudaStorage> {
    let (device, count, channels) = (x.storage.device(), x.count(), mean.len());
    let (all, pixels) = (count / channels, count / channels / x.dims()[0]);
    let bits: Vec<u32> = [mean, std].concat().into_iter().map(f32::to_bits).collect();
    let constants = constants(device, &bits)?;
    let mut out = room::<f32>(device, count)?;
    launch!(
        device,
        name,
        per_element(all),
        &x.view::<S>()?,
        &*constants,
        &(pixels as u64),
        &(channels as u32),
        &(all as u64),
        &mut out,
    );
    Ok(stored(out, device))
}
