//! The description of an operation, apart from the device that computes it and from the tape that
//! records it.
//!
//! An [`Operation`] on `N` tensors states its name, the shape of its output and its gradients. Each
//! device's folder implements one more trait for it: `cpu` implements [`OnCpu`], `cuda` implements
//! `OnGpu`. The file of an operation therefore names no device, and the two folders never meet.

use crate::cpu::element::{rounded, widened};
#[cfg(feature = "cuda")]
use crate::cuda::element::Element;
use crate::gradients::Gradients;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, Error, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use std::cell::RefCell;

/// An operation on `N` tensors that gives one.
pub(crate) trait Operation<const N: usize> {
    /// The name in messages.
    const NAME: &'static str;
    /// Whether the inputs may have any strides. Otherwise they are made contiguous first.
    const STRIDED: bool = false;

    /// The shape of the output.
    fn shape(&self, inputs: [&Shape; N]) -> Shape;

    /// The gradient of each input that [`Backward::needs`] asks for.
    fn gradients(&self, _: &Backward<'_, N>) -> Result<[Option<Tensor>; N]> {
        Err(Error::BackwardNotSupported { op: Self::NAME })
    }
}

/// The tensors from which an operation computes its gradients.
pub(crate) struct Backward<'a, const N: usize> {
    /// The inputs of the forward computation.
    pub(crate) inputs: [&'a Tensor; N],
    /// Its output.
    pub(crate) output: &'a Tensor,
    /// The gradient of the output, contiguous.
    pub(crate) gradient: &'a Tensor,
    /// Whether nothing else uses the memory of `gradient`, so that it may be overwritten.
    pub(crate) owned: bool,
    /// Whether the gradient of each input is wanted. Detached inputs need none.
    pub(crate) needs: [bool; N],
    /// The gradients that the tape has found so far.
    pub(crate) found: Option<&'a RefCell<&'a mut Gradients>>,
}

/// The memory of one input on one kind of device.
pub(crate) struct Input<'a, S> {
    pub(crate) storage: &'a S,
    pub(crate) layout: &'a Layout,
}

impl<const N: usize> Backward<'_, N> {
    /// Takes the gradient that input `index` has so far from the tape. An operation that takes it must
    /// add it to the gradient that it returns.
    pub(crate) fn take_found(&self, index: usize) -> Option<Tensor> {
        let input = self.inputs[index];
        let mut found = self.found.filter(|_| self.needs[index])?.borrow_mut();
        let fits = found.of(input.id()).is_some_and(|found| {
            found.dtype() == input.dtype() && found.dims() == input.dims() && found.is_contiguous()
        });
        if fits { found.take(input.id()) } else { None }
    }

    /// The gradient of the output, or a copy of it, to be overwritten.
    pub(crate) fn overwritable(&self) -> Result<Tensor> {
        if self.owned { Ok(self.gradient.clone()) } else { self.gradient.force_contiguous() }
    }
}

impl<S> Clone for Input<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Input<'_, S> {}

impl<'a, S> Input<'a, S> {
    pub(crate) fn dims(&self) -> &'a [usize] {
        self.layout.dims()
    }
}

impl<'a> Input<'a, Storage> {
    pub(crate) fn on_cpu(self) -> Option<Input<'a, CpuStorage>> {
        match self.storage {
            Storage::Cpu(storage) => Some(Input { storage, layout: self.layout }),
            _ => None,
        }
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(self) -> Option<Input<'a, CudaStorage>> {
        match self.storage {
            Storage::Cuda(storage) => Some(Input { storage, layout: self.layout }),
            _ => None,
        }
    }
}

impl<'a> Input<'a, CpuStorage> {
    /// The elements of a contiguous tensor.
    pub(crate) fn slice<T: WithDType>(self) -> Result<&'a [T]> {
        match self.layout.contiguous_offsets() {
            Some((start, end)) => Ok(&self.storage.as_slice::<T>()?[start..end]),
            None => bail!("expected a contiguous tensor"),
        }
    }
}

/// The inputs of an operation on the CPU.
pub(crate) type CpuInputs<'a, const N: usize> = [Input<'a, CpuStorage>; N];

/// The inputs of an operation on a GPU.
#[cfg(feature = "cuda")]
pub(crate) type GpuInputs<'a, const N: usize> = [Input<'a, CudaStorage>; N];

/// The CPU side of an operation.
pub(crate) trait OnCpu<const N: usize>: Operation<N> {
    /// Whether the output is f32 where inputs are bf16, as sums and gradients of parameters are.
    const SUMS: bool = false;

    /// The elements of the output, contiguous, of f32 inputs.
    fn compute(&self, _: CpuInputs<'_, N>) -> Result<CpuStorage> {
        bail!("{}: the CPU has no such operation", Self::NAME)
    }

    /// The same if an input is bf16. The default computes on f32 copies and rounds.
    fn compute_bf16(&self, inputs: CpuInputs<'_, N>) -> Result<CpuStorage> {
        let copies = inputs.map(|input| widened(input.storage));
        let wide = |index: usize| Input {
            storage: copies[index].as_ref().unwrap_or(inputs[index].storage),
            layout: inputs[index].layout,
        };
        let output = self.compute(std::array::from_fn(wide))?;
        Ok(if Self::SUMS { output } else { rounded(output) })
    }
}

/// The GPU side of an operation.
#[cfg(feature = "cuda")]
pub(crate) trait OnGpu<const N: usize>: Operation<N> {
    /// The elements of the output, contiguous. `T` is the element type of the first input where
    /// that is bf16, otherwise f32.
    fn compute<T: Element>(&self, _: GpuInputs<'_, N>) -> Result<CudaStorage> {
        bail!("{}: a GPU has no such operation", Self::NAME)
    }
}

/// An operation that every device of this build computes.
#[cfg(not(feature = "cuda"))]
pub(crate) trait Computed<const N: usize>: OnCpu<N> {}

#[cfg(not(feature = "cuda"))]
impl<const N: usize, O: OnCpu<N>> Computed<N> for O {}

/// An operation that every device of this build computes.
#[cfg(feature = "cuda")]
pub(crate) trait Computed<const N: usize>: OnCpu<N> + OnGpu<N> {}

#[cfg(feature = "cuda")]
impl<const N: usize, O: OnCpu<N> + OnGpu<N>> Computed<N> for O {}
