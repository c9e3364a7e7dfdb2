//! Batch norms folded into the convolutions before them.

use super::convolution::{Epilogue, output};
use super::element::{Element, stamped, width};
use super::launch::{launch, per_element};
use super::memory::{address, room, storage_of, stored};
use super::norm_convolution::activated;
use super::without;
use crate::batch_norm::BatchNorm;
use crate::folded_norm::{FoldedConvolution, FoldedNormConvolution};
use crate::operation::{GpuInputs, Input, OnGpu};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor};

/// The weight (O, KH, KW, I) times the scale of `norm`, and the bias (O), both of type `elements`. `None`
/// elsewhere than on a GPU, and where folding is left out.
pub(crate) fn fold(weight: &Tensor, norm: BatchNorm<'_>, elements: DType) -> Result<Option<[Tensor; 2]>> {
    let Device::Cuda(device) = weight.device() else { return Ok(None) };
    if !without::allowed("folding") {
        return Ok(None);
    }
    match elements {
        DType::BF16 => fold_to::<half::bf16>(device, weight, norm).map(Some),
        _ => fold_to::<f32>(device, weight, norm).map(Some),
    }
}

fn fold_to<T: Element>(device: &CudaDevice, weight: &Tensor, norm: BatchNorm<'_>) -> Result<[Tensor; 2]> {
    let (outputs, count) = (weight.dims()[0], weight.elem_count());
    let size = count / outputs;
    let width = width::<T>(size, &[weight.layout()]);
    let (mut folded, mut bias) = (room::<T>(device, count)?, room::<T>(device, outputs)?);
    launch!(
        device,
        &stamped::<T>("fold_norm", width),
        per_element(count / width),
        &address::<f32>(device, weight)?,
        &address::<f32>(device, &norm.statistics.mean)?,
        &address::<f32>(device, &norm.statistics.variance)?,
        &address::<f32>(device, norm.weight)?,
        &address::<f32>(device, norm.bias)?,
        &norm.eps,
        &(size as u64),
        &(count as u64),
        &mut folded,
        &mut bias,
    );
    let tensor = |storage, shape: Shape| {
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
    };
    Ok([
        tensor(stored(folded, device), weight.shape().clone()),
        tensor(stored(bias, device), Shape::from(outputs)),
    ])
}

impl OnGpu<2> for FoldedConvolution {
    fn compute<T: Element>(&self, [x, weight]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        let (bias, layout) = self.bias.storage_and_layout();
        let bias = Input { storage: storage_of(&bias, "folded_norm")?, layout };
        output::<T>(&self.convolve, x, weight, Some(Epilogue::BiasRelu(bias)))
    }
}

impl OnGpu<3> for FoldedNormConvolution {
    fn compute<T: Element>(&self, [x, parameters, weight]: GpuInputs<'_, 3>) -> Result<CudaStorage> {
        let (bias, layout) = self.bias.storage_and_layout();
        let bias = Input { storage: storage_of(&bias, "folded_norm")?, layout };
        let activated = activated::<T>(&self.inner, x, parameters)?;
        let activated = Input { storage: &activated, layout: &Layout::contiguous(x.layout.shape()) };
        output::<T>(&self.inner.convolve, activated, weight, Some(Epilogue::BiasRelu(bias)))
    }
}
