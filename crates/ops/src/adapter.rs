//! The one place where operations become candle's `CustomOp1` to `CustomOp3`.

use crate::operation::{Backward, Computed, CpuInputs, Input, OnCpu};
#[cfg(feature = "cuda")]
use crate::operation::{GpuInputs, OnGpu};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType, backend::BackendStorage};

/// Computes `operation` and records it for candle's backward pass.
pub(crate) fn apply<const N: usize, O>(operation: O, inputs: [&Tensor; N]) -> Result<Tensor>
where
    O: Computed<N>,
    Adapter<O, N>: Driven<N> + Send + Sync + 'static,
{
    let inputs = prepared(inputs, O::STRIDED)?;
    let needs = inputs.each_ref().map(Tensor::track_op);
    Adapter { operation, needs }.record(inputs.each_ref())
}

/// Computes `operation`. No gradient flows through the result.
pub(crate) fn run<const N: usize, O>(operation: O, inputs: [&Tensor; N]) -> Result<Tensor>
where
    O: Computed<N>,
    Adapter<O, N>: Driven<N>,
{
    let inputs = prepared(inputs, O::STRIDED)?;
    Adapter { operation, needs: [false; N] }.compute(inputs.each_ref())
}

/// The inputs, contiguous unless the operation takes any strides.
fn prepared<const N: usize>(inputs: [&Tensor; N], strided: bool) -> Result<[Tensor; N]> {
    let mut prepared = inputs.map(Tensor::clone);
    if !strided {
        for input in &mut prepared {
            *input = input.contiguous()?;
        }
    }
    Ok(prepared)
}

/// An operation as candle drives it.
pub(crate) struct Adapter<O, const N: usize> {
    operation: O,
    /// Whether the gradient of each input is wanted.
    needs: [bool; N],
}

impl<const N: usize, O: Computed<N>> Adapter<O, N> {
    fn on_cpu(&self, inputs: CpuInputs<'_, N>) -> Result<(CpuStorage, Shape)> {
        let shape = self.operation.shape(inputs.map(|input| input.layout.shape()));
        Ok((OnCpu::compute(&self.operation, inputs)?, shape))
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(&self, inputs: GpuInputs<'_, N>) -> Result<(CudaStorage, Shape)> {
        let shape = self.operation.shape(inputs.map(|input| input.layout.shape()));
        let storage = match inputs.first().map(|input| input.storage.dtype()) {
            Some(DType::BF16) => OnGpu::compute::<half::bf16>(&self.operation, inputs)?,
            _ => OnGpu::compute::<f32>(&self.operation, inputs)?,
        };
        Ok((storage, shape))
    }

    fn gradients(
        &self,
        inputs: [&Tensor; N],
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let gradient = &gradient.contiguous()?;
        self.operation.gradients(&Backward { inputs, output, gradient, needs: self.needs })
    }
}

/// candle's calls for operations on `N` tensors.
pub(crate) trait Driven<const N: usize> {
    /// Computes and records.
    fn record(self, inputs: [&Tensor; N]) -> Result<Tensor>
    where
        Self: Send + Sync + 'static;

    /// Computes without a record.
    fn compute(&self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

/// Implements candle's trait for operations on `$arity` tensors.
macro_rules! drive {
    (
        $arity:literal, $custom:ident, $record:ident, $compute:ident, $gradients:ty,
        $first:ident $first_layout:ident $(, $rest:ident $rest_layout:ident)*
    ) => {
        impl<O: Computed<$arity>> $custom for Adapter<O, $arity> {
            fn name(&self) -> &'static str {
                O::NAME
            }

            fn cpu_fwd(
                &self,
                $first: &CpuStorage,
                $first_layout: &Layout,
                $($rest: &CpuStorage, $rest_layout: &Layout),*
            ) -> Result<(CpuStorage, Shape)> {
                self.on_cpu([
                    Input { storage: $first, layout: $first_layout },
                    $(Input { storage: $rest, layout: $rest_layout }),*
                ])
            }

            #[cfg(feature = "cuda")]
            fn cuda_fwd(
                &self,
                $first: &CudaStorage,
                $first_layout: &Layout,
                $($rest: &CudaStorage, $rest_layout: &Layout),*
            ) -> Result<(CudaStorage, Shape)> {
                self.on_gpu([
                    Input { storage: $first, layout: $first_layout },
                    $(Input { storage: $rest, layout: $rest_layout }),*
                ])
            }

            fn bwd(
                &self,
                $first: &Tensor,
                $($rest: &Tensor,)*
                output: &Tensor,
                gradient: &Tensor,
            ) -> Result<$gradients> {
                let [$first, $($rest),*] = self.gradients([$first, $($rest),*], output, gradient)?;
                let gradients = ($first $(, $rest)*);
                Ok(gradients)
            }
        }

        impl<O: Computed<$arity>> Driven<$arity> for Adapter<O, $arity> {
            fn record(self, [$first, $($rest),*]: [&Tensor; $arity]) -> Result<Tensor>
            where
                Self: Send + Sync + 'static,
            {
                $first.$record($($rest,)* self)
            }

            fn compute(&self, [$first, $($rest),*]: [&Tensor; $arity]) -> Result<Tensor> {
                $first.$compute($($rest,)* self)
            }
        }
    };
}

type Gradient = Option<Tensor>;

drive!(1, CustomOp1, apply_op1, apply_op1_no_bwd, Gradient, x xl);
drive!(2, CustomOp2, apply_op2, apply_op2_no_bwd, (Gradient, Gradient), x xl, y yl);
drive!(3, CustomOp3, apply_op3, apply_op3_no_bwd, (Gradient, Gradient, Gradient), x xl, y yl, z zl);
