//! Finding and opening a GPU.

use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
use candle_core::{Device, Result};
use std::sync::{Mutex, PoisonError};

/// How many GPUs this machine has; 0 without NVIDIA's driver.
pub fn count() -> usize {
    // cudarc panics where the driver is missing, so it is looked for first.
    // SAFETY: a name that ends in a zero; loading the driver runs no code of ours.
    let driver = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY) };
    if driver.is_null() {
        return 0;
    }
    CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}

/// GPU `index`, with a stream of its own, and with its memory kept for the next tensor when one is freed. It is the same
/// device however often it is opened: what waits for nothing but its stream is never on another one.
///
/// # Errors
/// If there is no such GPU, or it cannot be used.
pub fn open(index: usize) -> Result<Device> {
    static OPEN: Mutex<Vec<(usize, Device)>> = Mutex::new(Vec::new());
    let mut known = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = known.iter().find(|(number, _)| *number == index) {
        return Ok(device.clone());
    }
    let count = count();
    if index >= count {
        candle_core::bail!("there is no GPU {index}: this machine has {count} that NVIDIA's driver can use");
    }
    let device = Device::new_cuda_with_stream(index)?;
    if let Device::Cuda(cuda) = &device {
        let stream = cuda.cuda_stream();
        // SAFETY: all tensors of the device live on its one stream, so no events are needed to order their uses; the
        // attribute's value is an integer of 64 bits, as the driver expects it.
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
    }
    known.push((index, device.clone()));
    Ok(device)
}

/// What the maker calls the GPU.
pub fn name(device: &Device) -> Option<String> {
    match device {
        Device::Cuda(cuda) => cuda.cuda_stream().context().name().ok(),
        _ => None,
    }
}

/// The most bytes that tensors of the device held at once since the program began, where the driver has memory pools, which count
/// them; cuDNN's own code is not in it.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    let Device::Cuda(cuda) = device else { return None };
    let mut bytes = 0_u64;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the attribute's value is an integer of 64 bits, as the driver writes it.
    unsafe {
        let pool = result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).ok()?;
        result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).ok()?;
    }
    Some(bytes)
}
