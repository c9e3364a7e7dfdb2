//! The CPU side of the operations: pure functions over slices, channels last, parallel over fixed blocks
//! so that results do not depend on the number of threads.

pub(crate) mod batch_norm;
pub(crate) mod convolution;
mod cook_toom;
pub(crate) mod elementwise;
pub(crate) mod interpolation;
pub(crate) mod matrix;
pub(crate) mod pixel_objective;
pub(crate) mod pooling;
pub(crate) mod pyramid;
mod winograd;
pub(crate) mod workspace;

use candle_core::{CpuStorage, Layout, Result, bail};
use std::ops::Range;

/// Runs `work` compiled for the widest vectors that the processor has.
fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// The contiguous f32 elements of a CPU tensor.
pub(crate) fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        bail!("expected f32 elements");
    };
    Ok(&data[contiguous(layout)?])
}

/// The contiguous f64 elements of a CPU tensor.
pub(crate) fn f64_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f64]> {
    let CpuStorage::F64(data) = storage else {
        bail!("expected f64 elements");
    };
    Ok(&data[contiguous(layout)?])
}

/// The contiguous u8 elements of a CPU tensor.
pub(crate) fn u8_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [u8]> {
    let CpuStorage::U8(data) = storage else {
        bail!("expected u8 elements");
    };
    Ok(&data[contiguous(layout)?])
}

/// The contiguous f32 elements of a CPU tensor, to be changed in place.
pub(crate) fn f32_slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(data) = storage else {
        bail!("expected f32 elements");
    };
    Ok(&mut data[contiguous(layout)?])
}

/// Where a contiguous tensor's elements lie in its storage.
fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("expected a contiguous tensor"),
    }
}
