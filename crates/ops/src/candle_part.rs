//! A part of a recorded computation that consists of candle's own operations.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cpu_backend::CpuDevice;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, TensorId};

/// The gradients of all variables that candle computed `tensor` from, given that of `tensor`.
/// Results of recorded operations are variables for candle.
pub(crate) fn gradients_through(tensor: &Tensor, gradient: Tensor) -> Result<Vec<(TensorId, Tensor)>> {
    let found = tensor.apply_op1(Seed(gradient))?.backward()?;
    let ids = found.get_ids().copied().collect::<Vec<_>>();
    Ok(ids.into_iter().filter_map(|id| Some((id, found.get_id(id)?.detach()))).collect())
}

/// A scalar whose gradient is the tensor in it. candle's backward pass starts from scalars alone.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuDevice.zeros_impl(&Shape::from(()), storage.dtype())?, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((storage.device().zeros_impl(&Shape::from(()), storage.dtype())?, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
