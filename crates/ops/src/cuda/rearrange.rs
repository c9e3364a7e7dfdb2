//! Parts of tensors brought to other places.

use super::element::Element;
use super::launch::{launch, per_element};
use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, DevicePtr, DeviceRepr};
use candle_core::{CudaDevice, Result, bail};

/// Four axes of elements, and how far apart they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrangement {
    pub(super) extents: [usize; 4],
    /// Elements from one to the next along each axis, where they are read.
    pub(super) from: [usize; 4],
    /// The same, where they are written.
    pub(super) to: [usize; 4],
}

/// [`Arrangement`] as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy)]
struct OfKernel {
    extents: [u32; 4],
    from: [u64; 4],
    to: [u64; 4],
}

// SAFETY: plain integers.
unsafe impl DeviceRepr for OfKernel {}

impl Arrangement {
    /// `rows` of `columns` elements next to each other, whose starts are `from` and `to` elements apart.
    pub(super) fn columns(rows: usize, columns: usize, from: usize, to: usize) -> Self {
        Self { extents: [1, 1, rows, columns], from: [0, 0, from, 1], to: [0, 0, to, 1] }
    }

    /// The number of elements from the first to the last.
    fn reach(&self, strides: [usize; 4]) -> usize {
        1 + self.extents.iter().zip(strides).map(|(extent, stride)| (extent - 1) * stride).sum::<usize>()
    }

    /// The same in packs of `width` elements, if it consists of such.
    fn packed(&self, width: usize) -> Option<Self> {
        let [.., extent] = self.extents;
        let all =
            [extent].into_iter().chain(self.from[..3].iter().copied()).chain(self.to[..3].iter().copied());
        let fits = self.from[3] == 1 && self.to[3] == 1 && all.into_iter().all(|size| size % width == 0);
        let shrunk = |[a, b, c, _]: [usize; 4]| [a / width, b / width, c / width, 1];
        let [a, b, c, last] = self.extents;
        fits.then(|| Self { extents: [a, b, c, last / width], from: shrunk(self.from), to: shrunk(self.to) })
    }
}

/// Copies elements of `from` to other places in `to`.
pub(super) fn rearrange<T: Element>(
    device: &CudaDevice,
    from: &CudaView<'_, T>,
    arrangement: Arrangement,
    to: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    if arrangement.extents.contains(&0) {
        return Ok(());
    }
    if arrangement.reach(arrangement.from) > from.len() || arrangement.reach(arrangement.to) > to.len() {
        bail!("rearrange: {arrangement:?} reaches beyond the tensors");
    }
    let stream = device.cuda_stream();
    let aligned = [from.device_ptr(&stream).0, to.device_ptr(&stream).0].iter().all(|place| place % 16 == 0);
    let packed = arrangement.packed(T::WIDTH).filter(|_| aligned);
    let bytes = if packed.is_some() { 16 } else { size_of::<T>() };
    let Arrangement { extents, from: apart, to: goal } = packed.unwrap_or(arrangement);
    let wide = |sizes: [usize; 4]| sizes.map(|size| size as u64);
    let kernels =
        OfKernel { extents: extents.map(|extent| extent as u32), from: wide(apart), to: wide(goal) };
    let count: usize = extents.iter().product();
    launch!(device, &format!("rearrange_{bytes}"), per_element(count), from, &kernels, &(count as u64), to);
    Ok(())
}
