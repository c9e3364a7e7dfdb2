//! All processes that one launcher started, as ranks.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::abi::{Abi, Pointer};
use super::functions::Functions;
use crate::{Communicator, Error, Launch, Pending, Ranks, Result};

/// Values in one call, below what a C int counts.
const AT_ONCE: usize = 1 << 28;

/// How long a rank that waits for the others sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// The connection of this process with the others.
struct World<H> {
    abi: Abi<H>,
    /// Where ranks say that they leave. Nothing else travels here.
    end: H,
    rank: usize,
    size: usize,
    left: AtomicBool,
}

// SAFETY: handles and function addresses belong to the process. Only the thread that runs the
// training calls operations, one at a time, as MPI was promised when it was initialised.
unsafe impl<H> Send for World<H> {}
// SAFETY: as above. `abort` alone is called from elsewhere, and nothing follows it.
unsafe impl<H> Sync for World<H> {}

/// What handles are: pointers or numbers.
pub(super) trait Handle: Copy + 'static {
    /// A value that MPI overwrites.
    const BLANK: Self;
}

impl Handle for Pointer {
    const BLANK: Self = std::ptr::null_mut();
}

impl Handle for c_int {
    const BLANK: Self = 0;
}

/// Initialises MPI.
pub(super) fn start<H: Handle>(abi: Abi<H>, launch: &Launch) -> Result<Ranks> {
    let call = abi.functions;
    let (mut level, mut rank, mut size, mut end) = (0, 0, 1, H::BLANK);
    // SAFETY: arguments of the command line are not passed on, and MPI allows null for both.
    let code = unsafe {
        (call.initialise)(std::ptr::null_mut(), std::ptr::null_mut(), abi.serialised, &raw mut level)
    };
    check("MPI_Init_thread", code)?;
    // SAFETY: MPI is initialised, and the results are written to live variables.
    unsafe {
        check("MPI_Comm_rank", (call.rank)(abi.world, &raw mut rank))?;
        check("MPI_Comm_size", (call.size)(abi.world, &raw mut size))?;
        check("MPI_Comm_dup", (call.duplicate)(abi.world, &raw mut end))?;
    }
    let world = World { abi, end, rank: rank as usize, size: size as usize, left: AtomicBool::new(false) };
    match launch.size {
        Some(launched) if launched != world.size => {
            let (connected, library) = (world.size, world.library());
            world.leave(true, Duration::from_secs(1));
            Err(Error::NotConnected { launched, connected, library })
        }
        _ => Ok(Arc::new(world)),
    }
}

fn check(function: &'static str, code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Error::Call { function, code }) }
}

impl<H: Handle> World<H> {
    /// The name of the library in one line.
    fn library(&self) -> String {
        // Enough for every interface.
        let mut name = vec![0_u8; 1 << 16];
        let mut length = 0;
        // SAFETY: the buffer is larger than MPI_MAX_LIBRARY_VERSION_STRING of any interface.
        unsafe { (self.abi.functions.version)(name.as_mut_ptr().cast(), &raw mut length) };
        let name = name.get(..length as usize).unwrap_or_default();
        let text = String::from_utf8_lossy(name);
        text.split([',', '\n', '\0']).next().unwrap_or_default().trim().to_owned()
    }

    /// Adds up `count` values of the type `kind` at `values`, in place.
    fn sum(&self, values: *mut c_void, count: usize, kind: H) -> Result<()> {
        let Abi { functions: call, world, add, in_place, .. } = &self.abi;
        // SAFETY: the callers give a slice of at most `AT_ONCE` values that nothing else refers to.
        let code = unsafe { (call.sum)(*in_place, values, count as c_int, kind, *add, *world) };
        check("MPI_Allreduce", code)
    }

    /// Begins such a sum. The values must stay where they are until it is complete.
    fn begin(&self, values: &mut [f32]) -> Result<H> {
        let Abi { functions: call, world, add, in_place, float, .. } = &self.abi;
        let (place, count, mut request) = (values.as_mut_ptr().cast(), values.len() as c_int, H::BLANK);
        // SAFETY: `Started` owns the values until the request is complete.
        let code =
            unsafe { (call.start_sum)(*in_place, place, count, *float, *add, *world, &raw mut request) };
        check("MPI_Iallreduce", code)?;
        Ok(request)
    }

    /// The bytes of all ranks, one after the other, of which each has `sizes`.
    fn gather_at_once(&self, own: &[u8], sizes: &[usize]) -> Result<Vec<u8>> {
        let Abi { functions: call, world, byte, .. } = &self.abi;
        let counts: Vec<c_int> = sizes.iter().map(|size| *size as c_int).collect();
        let mut places = Vec::with_capacity(counts.len());
        let mut total = 0;
        for count in &counts {
            places.push(total);
            total += count;
        }
        let mut all = vec![0_u8; total as usize];
        let (from, length, to) = (own.as_ptr().cast(), own.len() as c_int, all.as_mut_ptr().cast());
        // SAFETY: `all` has room for the counts, which all ranks know.
        let code = unsafe {
            (call.gather)(from, length, *byte, to, counts.as_ptr(), places.as_ptr(), *byte, *world)
        };
        check("MPI_Allgatherv", code)?;
        Ok(all)
    }
}

impl<H: Handle> Communicator for World<H> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        let mut parts = values.chunks_mut(AT_ONCE);
        parts.try_for_each(|part| self.sum(part.as_mut_ptr().cast(), part.len(), self.abi.float))
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let mut parts = values.chunks_mut(AT_ONCE);
        parts.try_for_each(|part| self.sum(part.as_mut_ptr().cast(), part.len(), self.abi.double))
    }

    fn start_sum(&self, mut values: Vec<f32>) -> Result<Box<dyn Pending>> {
        let requests = values.chunks_mut(AT_ONCE).map(|part| self.begin(part)).collect::<Result<_>>()?;
        let Abi { functions, no_status, .. } = self.abi;
        Ok(Box::new(Started { functions, no_status, values, requests }))
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut sizes = vec![0.0; self.size];
        sizes[self.rank] = own.len() as f64;
        self.sum_f64(&mut sizes)?;
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size as usize).collect();
        let mut all: Vec<Vec<u8>> = sizes.iter().map(|size| Vec::with_capacity(*size)).collect();
        let (largest, part) = (sizes.iter().max().copied().unwrap_or(0), AT_ONCE / self.size);
        for first in (0..largest).step_by(part) {
            let now: Vec<usize> = sizes.iter().map(|size| size.saturating_sub(first).min(part)).collect();
            let own = &own[first.min(own.len())..][..now[self.rank]];
            let received = self.gather_at_once(own, &now)?;
            let mut rest = &received[..];
            for (all, size) in all.iter_mut().zip(now) {
                let (own, others) = rest.split_at(size);
                all.extend_from_slice(own);
                rest = others;
            }
        }
        Ok(all)
    }

    fn leave(&self, failed: bool, limit: Duration) -> Option<bool> {
        if self.left.swap(true, Ordering::Relaxed) {
            return None;
        }
        let Abi { functions: call, add, float, in_place, no_status, .. } = &self.abi;
        // Leaked, because MPI may write to it after this rank has lost patience.
        let here = Box::leak(Box::new(f32::from(u8::from(failed && self.is_first()))));
        let (mut request, mut complete, start) = (H::BLANK, 0, Instant::now());
        // SAFETY: the value and the request live until the end of the process.
        let begun = unsafe {
            let here = (&raw mut *here).cast();
            (call.start_sum)(*in_place, here, 1, *float, *add, self.end, &raw mut request)
        };
        while begun == 0 && complete == 0 && start.elapsed() < limit {
            // SAFETY: the request is live until it is complete.
            unsafe { (call.test)(&raw mut request, &raw mut complete, *no_status) };
            if complete == 0 {
                sleep(PAUSE);
            }
        }
        if complete == 0 {
            return None;
        }
        // SAFETY: all ranks are here, and none calls MPI after this.
        unsafe { (call.finalise)() };
        Some(*here > 0.0)
    }

    fn abort(&self, status: i32) {
        // SAFETY: MPI is initialised, and this ends the process.
        unsafe { (self.abi.functions.abort)(self.abi.world, status) };
    }
}

/// A sum on its way between processes.
struct Started<H> {
    functions: Functions<H>,
    no_status: *mut c_void,
    values: Vec<f32>,
    /// Those that are not complete.
    requests: Vec<H>,
}

impl<H: Handle> Pending for Started<H> {
    fn is_complete(&mut self) -> Result<bool> {
        while let Some(request) = self.requests.last_mut() {
            let mut complete = 0;
            // SAFETY: the request is live until it is complete.
            let code = unsafe { (self.functions.test)(&raw mut *request, &raw mut complete, self.no_status) };
            check("MPI_Test", code)?;
            if complete == 0 {
                return Ok(false);
            }
            self.requests.pop();
        }
        Ok(true)
    }

    fn wait(mut self: Box<Self>) -> Result<Vec<f32>> {
        while let Some(mut request) = self.requests.pop() {
            // SAFETY: the request is live until it is complete.
            check("MPI_Wait", unsafe { (self.functions.wait)(&raw mut request, self.no_status) })?;
        }
        Ok(std::mem::take(&mut self.values))
    }
}

impl<H> Drop for Started<H> {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            // MPI still writes to them. This happens after an error, shortly before the end.
            std::mem::forget(std::mem::take(&mut self.values));
        }
    }
}
