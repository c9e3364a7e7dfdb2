//! Elements of activations, in the types that kernels are compiled for.

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::cublas::sys::cudaDataType_t;
use candle_core::cuda_backend::cudarc::cudnn::CudnnDataType;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use candle_core::{DType, Layout};

/// An element of an activation.
pub(crate) trait Element: CudaDType + CudnnDataType + DeviceRepr + ValidAsZeroBits {
    /// In the names of kernels.
    const NAME: &'static str;
    /// Elements of an access of 16 bytes.
    const WIDTH: usize;
    /// candle's name.
    const TYPE: DType;
    /// cuBLAS's name.
    const CUBLAS: cudaDataType_t;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
    const WIDTH: usize = 4;
    const TYPE: DType = DType::F32;
    const CUBLAS: cudaDataType_t = cudaDataType_t::CUDA_R_32F;
}

impl Element for half::bf16 {
    const NAME: &'static str = "bf16";
    const WIDTH: usize = 8;
    const TYPE: DType = DType::BF16;
    const CUBLAS: cudaDataType_t = cudaDataType_t::CUDA_R_16BF;
}

/// The number of elements of type T in one access: 16 bytes of them if `channels` and the starts of
/// the tensors are multiples, otherwise one.
pub(super) fn width<T: Element>(channels: usize, layouts: &[&Layout]) -> usize {
    let even = layouts.iter().all(|layout| layout.start_offset().is_multiple_of(T::WIDTH));
    if even && channels.is_multiple_of(T::WIDTH) { T::WIDTH } else { 1 }
}

/// The name of the kernel for elements of type T and accesses of `width` elements.
pub(super) fn stamped<T: Element>(name: &str, width: usize) -> String {
    format!("{name}_{}_{width}", T::NAME)
}
