//! Sums between the GPUs of several processes, by NVIDIA's library NCCL, which is loaded when it is
//! needed.

use super::memory::address;
use super::without;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream};
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor, bail};
use libloading::Library;
use robustseg_ranks::Communicator;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

/// `ncclFloat32`.
const F32: c_int = 7;
/// `ncclSum`.
const SUM: c_int = 0;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Id([u8; 128]);

/// `ncclComm_t`.
type Handle = *mut c_void;

/// The functions of NCCL that are used.
struct Nccl {
    new_id: unsafe extern "C" fn(*mut Id) -> c_int,
    join: unsafe extern "C" fn(*mut Handle, c_int, Id, c_int) -> c_int,
    sum: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> c_int,
    abort: unsafe extern "C" fn(Handle) -> c_int,
    describe: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Keeps the functions in memory.
    _library: Library,
}

impl Nccl {
    fn load() -> std::result::Result<Self, libloading::Error> {
        // SAFETY: NCCL has no initialisers that ask for anything. The types are those of nccl.h, unchanged since
        // version 2.0.
        unsafe {
            let library = Library::new("libnccl.so.2").or_else(|_| Library::new("libnccl.so"))?;
            Ok(Self {
                new_id: *library.get(b"ncclGetUniqueId")?,
                join: *library.get(b"ncclCommInitRank")?,
                sum: *library.get(b"ncclAllReduce")?,
                abort: *library.get(b"ncclCommAbort")?,
                describe: *library.get(b"ncclGetErrorString")?,
                _library: library,
            })
        }
    }

    fn check(&self, what: &str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NCCL gives a constant text for every status.
        let reason = unsafe { CStr::from_ptr((self.describe)(status)) };
        bail!("NCCL: {what}: {}", reason.to_string_lossy())
    }
}

/// The GPUs of all ranks, connected.
pub(crate) struct Gpus {
    nccl: Nccl,
    /// NCCL takes one call at a time.
    handle: Mutex<Handle>,
    device: CudaDevice,
    /// A stream for the sums alone, so that the backward pass goes on.
    stream: Arc<CudaStream>,
}

// SAFETY: any thread may use an NCCL communicator, one at a time.
unsafe impl Send for Gpus {}
// SAFETY: as above, and the handle has a lock.
unsafe impl Sync for Gpus {}

/// What a rank tells the others before they connect.
enum Offer {
    /// It computes on the CPU.
    Cpu,
    /// Why it cannot take part.
    Without(String),
    /// The identity of its GPU.
    Gpu([u8; 16]),
}

impl Offer {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Cpu => Vec::new(),
            Self::Without(reason) => [&[0], reason.as_bytes()].concat(),
            Self::Gpu(identity) => [&[1], &identity[..]].concat(),
        }
    }
}

/// Why ranks with these `offers` do not connect their GPUs. Empty if that goes without saying.
fn objection(offers: &[Vec<u8>]) -> Option<String> {
    for (rank, offer) in offers.iter().enumerate() {
        match offer.split_first() {
            None => return Some(String::new()),
            Some((0, reason)) => return Some(String::from_utf8_lossy(reason).into_owned()),
            Some(_) => {
                if let Some(other) = offers[..rank].iter().position(|other| other == offer) {
                    return Some(format!("processes {other} and {rank} share a GPU"));
                }
            }
        }
    }
    None
}

impl Gpus {
    /// Connects the GPUs of `ranks`. `None`, with the reason in the log, if they cannot be.
    ///
    /// # Errors
    /// If a rank has ended, or NCCL fails.
    pub(crate) fn connect(ranks: &dyn Communicator, device: &Device) -> Result<Option<Self>> {
        let (mut nccl, mut offer) = (None, Offer::Cpu);
        if let Device::Cuda(device) = device {
            offer = match (Nccl::load(), device.cuda_stream().context().uuid()) {
                _ if !without::allowed("nccl") => Offer::Without("ROBUSTSEG_GPU_WITHOUT names nccl".into()),
                (Ok(loaded), Ok(identity)) => {
                    nccl = Some(loaded);
                    Offer::Gpu(identity.bytes.map(|byte| byte as u8))
                }
                (Err(error), _) => Offer::Without(format!("there is no NCCL: {error}")),
                (_, Err(error)) => Offer::Without(format!("a GPU has no identity: {error}")),
            };
        }
        let offers = ranks.gather(&offer.into_bytes()).map_err(Error::wrap)?;
        if let Some(reason) = objection(&offers) {
            if !reason.is_empty() {
                tracing::warn!("gradients go through the memory of the host: {reason}");
            }
            return Ok(None);
        }
        let (Device::Cuda(device), Some(nccl)) = (device, nccl) else { return Ok(None) };
        let mut id = Id([0; 128]);
        let mut own = Ok(());
        if ranks.is_first() {
            // SAFETY: `id` is writable.
            own = nccl.check("beginning", unsafe { (nccl.new_id)(&raw mut id) });
        }
        let shared = ranks.broadcast(if own.is_ok() { &id.0 } else { &[] }).map_err(Error::wrap)?;
        own?;
        let Ok(bytes) = shared.try_into() else { bail!("NCCL: process 0 cannot begin") };
        let stream = device.cuda_stream().context().new_stream().map_err(Error::wrap)?;
        device.cuda_stream().context().bind_to_thread().map_err(Error::wrap)?;
        let mut handle = null_mut();
        // SAFETY: `handle` is writable, and the device's context is that of this thread.
        let joined =
            unsafe { (nccl.join)(&raw mut handle, ranks.size() as c_int, Id(bytes), ranks.rank() as c_int) };
        nccl.check("connecting the GPUs", joined)?;
        tracing::info!("gradients go from GPU to GPU by NCCL");
        Ok(Some(Self { nccl, handle: Mutex::new(handle), device: device.clone(), stream }))
    }

    /// Begins to add up f32 `tensors`, which become one.
    pub(crate) fn start(&self, tensors: &[Tensor]) -> Result<Sum> {
        if let Some(other) = tensors.iter().find(|tensor| tensor.dtype() != DType::F32) {
            bail!("sums over GPUs: expected f32, found {:?}", other.dtype());
        }
        let flat = tensors.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
        // The sums overwrite the copy.
        let all = if let [one] = &flat[..] { one.copy()? } else { Tensor::cat(&flat, 0)? };
        let computing = self.device.cuda_stream();
        let ready = computing.record_event(None).map_err(Error::wrap)?;
        self.stream.wait(&ready).map_err(Error::wrap)?;
        let place = address::<f32>(&self.device, &all)? as *mut c_void;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `all` has that many f32 elements, which `Sum` keeps, and which no other work of the device
        // uses until it has waited for the sums.
        let status = unsafe {
            let (count, stream) = (all.elem_count(), self.stream.cu_stream().cast());
            (self.nccl.sum)(place, place, count, F32, SUM, *handle, stream)
        };
        self.nccl.check("adding up gradients", status)?;
        let done = self.stream.record_event(None).map_err(Error::wrap)?;
        Ok(Sum { all, done, computing })
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        // Sums that no one waits for end with the communicator.
        let handle = self.handle.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing uses the handle any more.
        unsafe { (self.nccl.abort)(*handle) };
    }
}

/// Sums that take place on the GPUs.
pub(crate) struct Sum {
    all: Tensor,
    done: CudaEvent,
    computing: Arc<CudaStream>,
}

impl Sum {
    /// The sums. The device's further work waits for them.
    pub(crate) fn finish(self) -> Result<Tensor> {
        self.computing.wait(&self.done).map_err(Error::wrap)?;
        Ok(self.all.clone())
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        // Memory is given to other tensors in the order of the device's stream.
        if let Err(error) = self.computing.wait(&self.done) {
            tracing::warn!("sums on GPUs: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_connect_only_if_each_has_a_gpu_of_its_own() {
        let gpu = |number| Offer::Gpu([number; 16]).into_bytes();
        let without = || Offer::Without("no library".into()).into_bytes();
        assert_eq!(objection(&[gpu(1), gpu(2)]), None);
        assert_eq!(objection(&[gpu(1), gpu(2), gpu(1)]).as_deref(), Some("processes 0 and 2 share a GPU"));
        assert_eq!(objection(&[gpu(1), without()]).as_deref(), Some("no library"));
        assert_eq!(objection(&[Offer::Cpu.into_bytes(), gpu(1)]).as_deref(), Some(""));
    }
}
