//! Operations that overwrite their first tensor, and the one place where they become candle's
//! `InplaceOp2` and `InplaceOp3`.

#[cfg(feature = "cuda")]
use crate::cuda::element::Element;
#[cfg(feature = "cuda")]
use crate::operation::GpuInputs;
use crate::operation::{CpuInputs, Input};
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType, backend::BackendStorage};

/// An operation that overwrites a tensor, given `N` others. No gradient flows through it.
pub(crate) trait Update<const N: usize> {
    /// The name in messages.
    const NAME: &'static str;
}

/// The CPU side of an update.
pub(crate) trait UpdateOnCpu<const N: usize>: Update<N> {
    /// Overwrites the elements of `target`.
    fn update(&self, target: &mut [f32], inputs: CpuInputs<'_, N>) -> Result<()>;

    /// The same for activations of bf16.
    fn update_bf16(&self, _: &mut [half::bf16], _: CpuInputs<'_, N>) -> Result<()> {
        bail!("{}: expected f32 elements to overwrite", Self::NAME)
    }
}

/// The GPU side of an update.
#[cfg(feature = "cuda")]
pub(crate) trait UpdateOnGpu<const N: usize>: Update<N> {
    /// Overwrites the elements of `target`. `T` is the element type of the first input where that
    /// is bf16, otherwise f32.
    fn update<T: Element>(&self, _: &mut CudaStorage, _: &Layout, _: GpuInputs<'_, N>) -> Result<()> {
        bail!("{}: a GPU has no such operation", Self::NAME)
    }
}

/// An update that every device of this build computes.
#[cfg(not(feature = "cuda"))]
pub(crate) trait Updates<const N: usize>: UpdateOnCpu<N> {}

#[cfg(not(feature = "cuda"))]
impl<const N: usize, U: UpdateOnCpu<N>> Updates<N> for U {}

/// An update that every device of this build computes.
#[cfg(feature = "cuda")]
pub(crate) trait Updates<const N: usize>: UpdateOnCpu<N> + UpdateOnGpu<N> {}

#[cfg(feature = "cuda")]
impl<const N: usize, U: UpdateOnCpu<N> + UpdateOnGpu<N>> Updates<N> for U {}

/// Whether an operation on `inputs` is recorded for a backward pass, which may need their values.
pub(crate) fn is_recorded(inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|input| input.track_op())
}

/// Overwrites `target` by `update`.
pub(crate) fn update1<U: Updates<1>>(update: &U, target: &Tensor, input: &Tensor) -> Result<()> {
    target.inplace_op2(input, &Adapter(update))
}

/// Overwrites `target` by `update`.
pub(crate) fn update2<U: Updates<2>>(update: &U, target: &Tensor, [x, y]: [&Tensor; 2]) -> Result<()> {
    target.inplace_op3(x, y, &Adapter(update))
}

/// An update as candle drives it.
struct Adapter<'a, U>(&'a U);

impl<U> Adapter<'_, U> {
    fn on_cpu<const N: usize>(
        &self,
        target: &mut CpuStorage,
        layout: &Layout,
        inputs: CpuInputs<'_, N>,
    ) -> Result<()>
    where
        U: UpdateOnCpu<N>,
    {
        match (target, layout.contiguous_offsets()) {
            (CpuStorage::F32(target), Some((start, end))) => self.0.update(&mut target[start..end], inputs),
            (CpuStorage::BF16(target), Some((start, end))) => {
                self.0.update_bf16(&mut target[start..end], inputs)
            }
            _ => bail!("{}: expected contiguous elements of f32 or bf16 to overwrite", U::NAME),
        }
    }

    #[cfg(feature = "cuda")]
    fn on_gpu<const N: usize>(
        &self,
        target: &mut CudaStorage,
        layout: &Layout,
        inputs: GpuInputs<'_, N>,
    ) -> Result<()>
    where
        U: UpdateOnGpu<N>,
    {
        match target.dtype() {
            DType::BF16 => self.0.update::<half::bf16>(target, layout, inputs),
            _ => self.0.update::<f32>(target, layout, inputs),
        }
    }
}

impl<U: Updates<1>> InplaceOp2 for Adapter<'_, U> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, target: &mut CpuStorage, tl: &Layout, x: &CpuStorage, xl: &Layout) -> Result<()> {
        self.on_cpu(target, tl, [Input { storage: x, layout: xl }])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, target: &mut CudaStorage, tl: &Layout, x: &CudaStorage, xl: &Layout) -> Result<()> {
        self.on_gpu(target, tl, [Input { storage: x, layout: xl }])
    }
}

impl<U: Updates<2>> InplaceOp3 for Adapter<'_, U> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        tl: &Layout,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
    ) -> Result<()> {
        self.on_cpu(target, tl, [Input { storage: x, layout: xl }, Input { storage: y, layout: yl }])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        target: &mut CudaStorage,
        tl: &Layout,
        x: &CudaStorage,
        xl: &Layout,
        y: &CudaStorage,
        yl: &Layout,
    ) -> Result<()> {
        self.on_gpu(target, tl, [Input { storage: x, layout: xl }, Input { storage: y, layout: yl }])
    }
}
