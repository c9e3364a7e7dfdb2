//! Integers, and the bits of other numbers, that operations read on the device, uploaded once and kept.

use super::recordings::is_recording;
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, Result, bail};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type Known = HashMap<(DeviceId, Vec<u32>), Arc<CudaSlice<u32>>>;

/// `values` on the device.
pub(super) fn constants(device: &CudaDevice, values: &[u32]) -> Result<Arc<CudaSlice<u32>>> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let key = (device.id(), values.to_vec());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(constants) = known.get(&key) {
        return Ok(Arc::clone(constants));
    }
    if is_recording() {
        bail!("a recording does not begin with constants");
    }
    let constants = Arc::new(device.clone_htod(values)?);
    known.insert(key, Arc::clone(&constants));
    Ok(constants)
}
