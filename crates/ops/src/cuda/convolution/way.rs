//! A way to compute a product, other than cuDNN's older interface.

use super::cudnn::Reason;
use super::epilogue::Epilogue;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use std::ffi::c_void;

/// The memory of a product. The result is written.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// The factors, in the order input, weight, gradient of the output.
    pub(super) factors: [*mut c_void; 2],
    pub(super) epilogue: Option<Epilogue<*mut c_void>>,
    pub(super) result: *mut c_void,
}

/// Bytes that all addresses of operands are multiples of.
pub(super) const ALIGNMENT: usize = 16;

impl Operands {
    pub(super) fn are_aligned(&self) -> bool {
        let [first, second] = self.factors;
        let operand = self.epilogue.as_ref().map_or(self.result, |epilogue| *epilogue.operand());
        let all = [first, second, self.result, operand];
        all.into_iter().all(|address| (address as usize).is_multiple_of(ALIGNMENT))
    }
}

/// A way to compute one product of one shape with one kind of epilogue. Repetitions give the same bits.
pub(super) trait Way {
    fn name(&self) -> String;

    /// Bytes of memory in addition to the operands.
    fn workspace(&self) -> usize;

    /// Starts the computation, with [`Way::workspace`] bytes at `memory`.
    fn start(&self, stream: &CudaStream, operands: Operands, memory: *mut c_void) -> Result<(), Reason>;
}

/// A way that takes time to prepare.
pub(super) type Offer = Box<dyn FnOnce() -> Result<Box<dyn Way>, Reason>>;
