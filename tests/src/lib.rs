//! The tests of the workspace as a whole. `tests/goldens`, `tests/networks` and `tests/transformers` compare results with
//! PyTorch's, `tests/layering` checks the crates' dependencies, and `tests/repository` checks that documents and files
//! agree. This library has what several of them share.

use candle_core::Device;

/// The device for golden cases: the GPU, if these tests were built for one and the machine has one.
///
/// # Panics
/// If there is a GPU that cannot be opened.
pub fn device() -> Device {
    #[cfg(feature = "cuda")]
    if robustseg_ops::cuda::count() > 0 {
        return robustseg_ops::cuda::open(0).expect("a GPU that can be opened");
    }
    #[cfg(feature = "cuda")]
    eprintln!("no GPU here: on the CPU");
    Device::Cpu
}
