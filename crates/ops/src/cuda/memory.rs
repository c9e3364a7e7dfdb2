//! Memory of tensors on a GPU.

use super::users::enter;
use crate::operation::Input;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DevicePtr, DeviceRepr};
use candle_core::cuda_backend::{CudaDType, CudaError};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result, Storage, Tensor, bail};

impl<'a> Input<'a, CudaStorage> {
    /// The elements of a contiguous tensor.
    pub(super) fn view<T: CudaDType>(self) -> Result<CudaView<'a, T>> {
        let Some((start, end)) = self.layout.contiguous_offsets() else {
            bail!("expected a contiguous tensor");
        };
        Ok(self.storage.as_cuda_slice::<T>()?.slice(start..end))
    }

    /// The number of elements.
    pub(super) fn count(&self) -> usize {
        self.layout.shape().elem_count()
    }
}

/// The elements of a contiguous tensor, to be overwritten.
pub(super) fn view_mut<'a, T: CudaDType>(
    storage: &'a mut CudaStorage,
    layout: &Layout,
) -> Result<CudaViewMut<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor");
    };
    Ok(storage.as_cuda_slice_mut::<T>()?.slice_mut(start..end))
}

/// The storage of a tensor that an operation holds in addition to its inputs.
pub(super) fn storage_of<'a>(storage: &'a Storage, operation: &str) -> Result<&'a CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => bail!("{operation}: all tensors must be on the same device"),
    }
}

/// The address of a contiguous tensor. A caller that writes there must order it against all
/// readers, on the device's stream or by events.
pub(super) fn address<T: CudaDType>(device: &CudaDevice, tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let storage = storage_of(&storage, "the device's tensors")?;
    let elements = Input { storage, layout }.view::<T>()?;
    let stream = device.cuda_stream();
    let (address, _guard) = elements.device_ptr(&stream);
    Ok(address)
}

/// Room for `count` elements, all of which the caller writes.
pub(super) fn room<T: DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    enter();
    // SAFETY: every kernel writes all elements of its output, which tests check with memory full of
    // NaNs.
    unsafe { device.alloc::<T>(count) }
}

/// The storage of elements that a kernel has written.
pub(super) fn stored<T: CudaDType>(elements: CudaSlice<T>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(elements, device.clone())
}

/// Whether `error` says that the driver had no memory left.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::Cuda(error) => matches!(
            error.downcast_ref(),
            Some(CudaError::Cuda(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)))
        ),
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } | Error::Context { inner, .. } => {
            is_out_of_memory(inner)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_memory_is_found_inside_other_errors() {
        let of_driver = |status| Error::Cuda(Box::new(CudaError::Cuda(DriverError(status))));
        let missing = of_driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert!(is_out_of_memory(&missing.bt().context("outside")));
        assert!(!is_out_of_memory(&of_driver(CUresult::CUDA_ERROR_INVALID_VALUE)));
        assert!(!is_out_of_memory(&Error::Msg("out of memory".into())));
    }
}
