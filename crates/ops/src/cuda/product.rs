//! Matrix products by cuBLAS.

use super::element::Element;
use super::memory::{room, stored};
use crate::arithmetic::Factors;
use crate::operation::Input;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t,
};
use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, bail};

/// A matrix, or a batch of them, as cuBLAS reads it: column by column, so that rows are its
/// columns.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    operation: cublasOperation_t,
    /// Elements from one row to the next, or from one column to the next if it is transposed.
    leading: i32,
    /// Elements from one matrix of the batch to the next.
    stride: i64,
}

impl Operand {
    /// Matrices whose rows are `leading` elements apart, and which are `stride` elements apart.
    pub(super) fn rows([leading, stride]: [usize; 2]) -> Self {
        let operation = cublasOperation_t::CUBLAS_OP_N;
        Self { operation, leading: leading as i32, stride: stride as i64 }
    }

    /// The transposes of matrices that [`Self::rows`] describes.
    pub(super) fn flipped(self) -> Self {
        Self { operation: cublasOperation_t::CUBLAS_OP_T, ..self }
    }

    /// Elements from the first to one past the last of `batch` matrices (rows, columns).
    fn reach(self, [rows, columns]: [usize; 2], batch: usize) -> usize {
        let transposed = self.operation == cublasOperation_t::CUBLAS_OP_T;
        let (lines, length) = if transposed { (columns, rows) } else { (rows, columns) };
        let [before, above] = [batch, lines].map(|count| count.saturating_sub(1));
        before * self.stride as usize + above * self.leading as usize + length
    }

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
    let operands = [Operand::new(left.layout)?, Operand::new(right.layout)?];
    let first = left.storage.as_cuda_slice::<T>()?.slice(left.layout.start_offset()..);
    let second = right.storage.as_cuda_slice::<T>()?.slice(right.layout.start_offset()..);
    let mut out = room::<T>(device, batch * m * n)?;
    let result = Operand::rows([*n, m * n]);
    let sizes = Sizes { rows: *m, inner: *k, columns: *n, batch };
    gemm(
        device,
        sizes,
        [(&first, operands[0]), (&second, operands[1])],
        (&mut out.slice_mut(..), result),
        0.0,
        factors,
    )?;
    Ok(stored(out, device))
}

/// The sizes of a product (rows, inner) times (inner, columns), as many as `batch`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) batch: usize,
}

/// `out = left right + kept out`, with sums in f32. The views begin with the first matrix.
pub(super) fn gemm<T: Element, S: Element>(
    device: &CudaDevice,
    sizes: Sizes,
    [(left, b), (right, a)]: [(&CudaView<'_, T>, Operand); 2],
    (out, result): (&mut CudaViewMut<'_, S>, Operand),
    kept: f32,
    factors: Factors,
) -> Result<()> {
    let Sizes { rows, inner, columns, batch } = sizes;
    let inside = b.reach([rows, inner], batch) <= left.len()
        && a.reach([inner, columns], batch) <= right.len()
        && result.reach([rows, columns], batch) <= out.len();
    if !inside {
        bail!("product: {sizes:?} reach beyond the tensors");
    }
    let compute = match T::TYPE {
        DType::F32 if factors == Factors::Tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let (stream, one) = (device.cuda_stream(), 1.0_f32);
    let (first, _first) = right.device_ptr(&stream);
    let (second, _second) = left.device_ptr(&stream);
    let (target, _target) = out.device_ptr_mut(&stream);
    // SAFETY: the operands and the product lie within their views, as was checked.
    unsafe {
        gemm_strided_batched_ex(
            *device.cublas_handle().handle(),
            a.operation,
            b.operation,
            columns as i32,
            rows as i32,
            inner as i32,
            (&raw const one).cast(),
            first as *const _,
            T::CUBLAS,
            a.leading,
            a.stride,
            second as *const _,
            T::CUBLAS,
            b.leading,
            b.stride,
            (&raw const kept).cast(),
            target as *mut _,
            S::CUBLAS,
            result.leading,
            result.stride,
            batch as i32,
            compute,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .map_err(Error::wrap)
}
