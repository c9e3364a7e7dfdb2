//! Finding and opening a GPU.

use super::memory::room;
use super::pool;
use super::users::enter;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasSetWorkspace_v2;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaSlice, DevicePtrMut, result, sys};
use candle_core::{CudaDevice, Device, Result};
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// The number of GPUs of this machine, 0 without NVIDIA's driver.
pub fn count() -> usize {
    // cudarc panics if the driver is missing.
    // SAFETY: the name ends in a zero, and loading the driver runs no code of ours.
    let driver = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY) };
    if driver.is_null() {
        return 0;
    }
    CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}

/// A GPU that was opened.
struct Open {
    index: usize,
    device: Device,
    _for_products: Option<CudaSlice<u8>>,
}

/// GPU `index`, with its own stream, which keeps freed memory for the next tensor. Opening it again
/// gives the same device, so all work on a GPU is on one stream.
///
/// # Errors
/// If there is no such GPU, or it cannot be used.
pub fn open(index: usize) -> Result<Device> {
    static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());
    enter();
    let mut known = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(open) = known.iter().find(|open| open.index == index) {
        return Ok(open.device.clone());
    }
    let count = count();
    if index >= count {
        candle_core::bail!("there is no GPU {index}: this machine has {count} that NVIDIA's driver can use");
    }
    let device = Device::new_cuda_with_stream(index)?;
    let mut for_products = None;
    if let Device::Cuda(cuda) = &device {
        let stream = cuda.cuda_stream();
        // SAFETY: all tensors of the device live on its one stream, so no events are needed to
        // order their uses. The driver expects an integer of 64 bits for the attribute.
        let kept = unsafe {
            cuda.disable_event_tracking();
            result::device::get_default_mem_pool(stream.context().cu_device()).and_then(|pool| {
                let mut keep = u64::MAX;
                let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
                result::mem_pool::set_attribute(pool, attribute, (&raw mut keep).cast())
            })
        };
        if let Err(error) = kept {
            tracing::warn!(
                "GPU {index} keeps no freed memory, which takes time but changes no result: {error}"
            );
        }
        for_products = memory_for_products(cuda);
    }
    known.push(Open { index, device: device.clone(), _for_products: for_products });
    Ok(device)
}

/// Memory that cuBLAS has from now on. It would otherwise take some in each recording of a pass.
fn memory_for_products(device: &CudaDevice) -> Option<CudaSlice<u8>> {
    /// What NVIDIA advises for its larger GPUs.
    const BYTES: usize = 32 << 20;
    let mut memory = room::<u8>(device, BYTES).ok()?;
    let stream = device.cuda_stream();
    let (address, guard) = memory.device_ptr_mut(&stream);
    // SAFETY: the memory lives as long as the device, on whose stream alone the handle works.
    let status = unsafe {
        cublasSetWorkspace_v2(*device.cublas_handle().handle(), address as *mut c_void, BYTES).result()
    };
    drop(guard);
    status.ok().map(|()| memory)
}

/// The maker's name for the GPU.
pub fn name(device: &Device) -> Option<String> {
    match device {
        Device::Cuda(cuda) => cuda.cuda_stream().context().name().ok(),
        _ => None,
    }
}

/// The largest number of bytes that the device's tensors have held at once since the program began, those
/// inside CUDA graphs included, without cuDNN's own code. `None` if the driver has no memory pools, which
/// count them.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    match device {
        Device::Cuda(cuda) => pool::peak(cuda),
        _ => None,
    }
}
