//! Matrix products by cuBLAS.

use super::element::Element;
use super::memory::{room, stored};
use crate::arithmetic::Factors;
use crate::operation::{GpuInputs, Input, OnGpu};
use crate::product::Product;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t,
};
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut};
use candle_core::{CudaStorage, DType, Error, Layout, Result, bail};

impl OnGpu<2> for Product {
    fn compute<T: Element>(&self, [left, right]: GpuInputs<'_, 2>) -> Result<CudaStorage> {
        multiply::<T>(left, right, self.0.factors)
    }
}

/// A matrix, or a batch of them, as cuBLAS reads it: column by column, so that rows are its
/// columns.
struct Operand {
    operation: cublasOperation_t,
    /// Elements from one row to the next, or from one column to the next if it is transposed.
    leading: i32,
    /// Elements from one matrix of the batch to the next.
    stride: i64,
}

impl Operand {
    fn new(layout: &Layout) -> Result<Self> {
        let ([.., rows, columns], [batch @ .., down, across]) = (layout.dims(), layout.stride()) else {
            bail!("product: expected matrices, found shape {:?}", layout.dims());
        };
        let stride = match batch {
            [] => rows * columns,
            [stride] => *stride,
            _ => bail!("product: expected one axis of matrices, found shape {:?}", layout.dims()),
        };
        // The stride of an axis of one element does not matter.
        let (operation, leading) = if (*across == 1 || *columns == 1) && (down == columns || *rows == 1) {
            (cublasOperation_t::CUBLAS_OP_N, columns)
        } else if (across == rows || *columns == 1) && (*down == 1 || *rows == 1) {
            (cublasOperation_t::CUBLAS_OP_T, rows)
        } else {
            bail!("product: expected contiguous or transposed matrices, found {layout:?}");
        };
        Ok(Self { operation, leading: *leading as i32, stride: stride as i64 })
    }
}

/// `left` (m, k) times `right` (k, n), or as many of them as the batch (batch, m, k) and (batch, k,
/// n) holds. Sums are f32.
pub(super) fn multiply<T: Element>(
    left: Input<'_, CudaStorage>,
    right: Input<'_, CudaStorage>,
    factors: Factors,
) -> Result<CudaStorage> {
    let ([batch @ .., m, k], [batch_right @ .., inner, n]) = (left.dims(), right.dims()) else {
        bail!("product: expected matrices, found shapes {:?} and {:?}", left.dims(), right.dims());
    };
    if batch != batch_right || k != inner {
        bail!("product: shapes {:?} and {:?} do not fit each other", left.dims(), right.dims());
    }
    let (device, batch) = (left.storage.device(), batch.iter().product::<usize>());
    let (a, b) = (Operand::new(right.layout)?, Operand::new(left.layout)?);
    let compute = match T::TYPE {
        DType::F32 if factors == Factors::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let mut out = room::<T>(device, batch * m * n)?;
    let (one, zero) = (1.0_f32, 0.0_f32);
    {
        let stream = device.cuda_stream();
        let first = right.storage.as_cuda_slice::<T>()?.slice(right.layout.start_offset()..);
        let second = left.storage.as_cuda_slice::<T>()?.slice(left.layout.start_offset()..);
        let (first, _first) = first.device_ptr(&stream);
        let (second, _second) = second.device_ptr(&stream);
        let (target, _target) = out.device_ptr_mut(&stream);
        // SAFETY: the operands lie within their storages, as their layouts say, and the output has
        // room for the product.
        unsafe {
            gemm_strided_batched_ex(
                *device.cublas_handle().handle(),
                a.operation,
                b.operation,
                *n as i32,
                *m as i32,
                *k as i32,
                (&raw const one).cast(),
                first as *const _,
                T::CUBLAS,
                a.leading,
                a.stride,
                second as *const _,
                T::CUBLAS,
                b.leading,
                b.stride,
                (&raw const zero).cast(),
                target as *mut _,
                T::CUBLAS,
                *n as i32,
                (m * n) as i64,
                batch as i32,
                compute,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
            )
        }
        .map_err(Error::wrap)?;
    }
    Ok(stored(out, device))
}
