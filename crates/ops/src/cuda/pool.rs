//! How much memory the device's tensors hold: those in its pool, and those inside CUDA graphs.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use sys::CUmemPool_attribute as Pool;

/// The most bytes that were used while a graph ran, by device.
static WITH_GRAPHS: Mutex<Option<HashMap<usize, u64>>> = Mutex::new(None);

/// A number of bytes that the pool knows. `None` if the driver has no pools.
fn bytes(device: &CudaDevice, attribute: Pool) -> Option<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the value of the attributes in use is an integer of 64 bits, as the driver writes it.
    unsafe {
        let pool = result::device::get_default_mem_pool(device.cuda_stream().context().cu_device()).ok()?;
        result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()).ok()?;
    }
    Some(bytes)
}

/// The most bytes that graphs have used.
fn bytes_of_graphs(device: &CudaDevice) -> u64 {
    let (mut bytes, high) = (0_u64, sys::CUgraphMem_attribute::CU_GRAPH_MEM_ATTR_USED_MEM_HIGH);
    let of = device.cuda_stream().context().cu_device();
    // SAFETY: the attribute's value is an integer of 64 bits.
    let status = unsafe { sys::cuDeviceGetGraphMemAttribute(of, high, (&raw mut bytes).cast()) };
    // A driver without such memory has none in use.
    if status.result().is_ok() { bytes } else { 0 }
}

/// Notes that a graph runs.
pub(super) fn graph_runs(device: &CudaDevice) {
    let Some(used) = bytes(device, Pool::CU_MEMPOOL_ATTR_USED_MEM_CURRENT) else { return };
    let used = used + bytes_of_graphs(device);
    let mut all = WITH_GRAPHS.lock().unwrap_or_else(PoisonError::into_inner);
    let most = all.get_or_insert_default().entry(device.cuda_stream().context().ordinal()).or_default();
    *most = used.max(*most);
}

/// The most bytes that were in use at once. Graphs share their memory, so that of the largest counts while any
/// runs. `None` if the driver has no pools.
pub(super) fn peak(device: &CudaDevice) -> Option<u64> {
    let alone = bytes(device, Pool::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?;
    let all = WITH_GRAPHS.lock().unwrap_or_else(PoisonError::into_inner);
    let with = all.as_ref().and_then(|all| all.get(&device.cuda_stream().context().ordinal()));
    Some(with.copied().unwrap_or(0).max(alone))
}

/// Who keeps memory that is free, which the other cannot use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keeper {
    Pool,
    Graphs,
}

/// Gives the memory that `keeper` keeps back to the device, once all work is done.
pub(super) fn give_back(device: &CudaDevice, keeper: Keeper) -> Result<()> {
    device.synchronize()?;
    let of = device.cuda_stream().context().cu_device();
    // SAFETY: memory in use stays.
    let done = unsafe {
        match keeper {
            Keeper::Pool => {
                result::device::get_default_mem_pool(of).and_then(|pool| result::mem_pool::trim_to(pool, 0))
            }
            Keeper::Graphs => sys::cuDeviceGraphMemTrim(of).result(),
        }
    };
    if let Err(error) = done {
        tracing::debug!("{keeper:?}: free memory stays there: {error}");
    }
    Ok(())
}
