//! The one place where operations are computed and recorded: on a [`Tape`](crate::Tape) where one
//! runs, otherwise in candle's graph, as `CustomOp1` to `CustomOp3`.

use crate::contiguous::contiguous;
use crate::gradients::Gradients;
use crate::operation::{Backward, Computed, CpuInputs, Input, OnCpu};
#[cfg(feature = "cuda")]
use crate::operation::{GpuInputs, OnGpu};
use crate::tape::{self, Recorded};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType, backend::BackendStorage};
use std::cell::RefCell;

/// Computes `operation` and records it for the backward pass.
pub(crate) fn apply<const N: usize, O>(operation: O, inputs: [&Tensor; N]) -> Result<Tensor>
where
    O: Computed<N> + 'static,
    Adapter<O, N>: Driven<N> + Send + Sync + 'static,
{
    let inputs = prepared(inputs, O::STRIDED)?;
    let needs = inputs.each_ref().map(Tensor::track_op);
    let adapter = Adapter { operation, needs };
    if !needs.contains(&true) {
        return adapter.compute(inputs.each_ref(), false);
    }
    if !tape::is_running() {
        return adapter.record(inputs.each_ref());
    }
    // A variable, so that candle records what its own operations compute from the output.
    let output = adapter.compute(inputs.each_ref(), true)?;
    tape::record(Box::new(Application { adapter, inputs, output: output.clone() }));
    Ok(output)
}

/// Computes `operation`. No gradient flows through the result.
pub(crate) fn run<const N: usize, O>(operation: O, inputs: [&Tensor; N]) -> Result<Tensor>
where
    O: Computed<N>,
{
    let inputs = prepared(inputs, O::STRIDED)?;
    Adapter { operation, needs: [false; N] }.compute(inputs.each_ref(), false)
}

/// The inputs, contiguous unless the operation takes any strides.
fn prepared<const N: usize>(inputs: [&Tensor; N], strided: bool) -> Result<[Tensor; N]> {
    let mut prepared = inputs.map(Tensor::clone);
    if !strided {
        for input in &mut prepared {
            *input = contiguous(input)?;
        }
    }
    Ok(prepared)
}

/// An operation with the wishes for gradients.
pub(crate) struct Adapter<O, const N: usize> {
    operation: O,
    /// Whether the gradient of each input is wanted.
    needs: [bool; N],
}

impl<const N: usize, O: Computed<N>> Adapter<O, N> {
    fn on_cpu(&self, inputs: CpuInputs<'_, N>) -> Result<(CpuStorage, Shape)> {
        let shape = self.operation.shape(inputs.map(|input| input.layout.shape()));
        let rounded = inputs.iter().any(|input| matches!(input.storage, CpuStorage::BF16(_)));
        let compute = if rounded { OnCpu::compute_bf16 } else { OnCpu::compute };
        Ok((compute(&self.operation, inputs)?, shape))
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
        owned: bool,
        found: Option<&mut Gradients>,
    ) -> Result<[Option<Tensor>; N]> {
        let gradient = &contiguous(gradient)?;
        let found = found.map(RefCell::new);
        let (found, needs) = (found.as_ref(), self.needs);
        self.operation.gradients(&Backward { inputs, output, gradient, owned, needs, found })
    }

    /// Computes the output, a variable for candle if `variable`.
    fn compute(&self, inputs: [&Tensor; N], variable: bool) -> Result<Tensor> {
        let guards = inputs.map(Tensor::storage_and_layout);
        let inputs = guards.each_ref().map(|(storage, layout)| Input { storage: &**storage, layout });
        let tensor = |storage, shape| Tensor::from_storage(storage, shape, BackpropOp::none(), variable);
        if let Some(inputs) = all(inputs.map(Input::on_cpu)) {
            let (storage, shape) = self.on_cpu(inputs)?;
            return Ok(tensor(Storage::Cpu(storage), shape));
        }
        #[cfg(feature = "cuda")]
        if let Some(inputs) = all(inputs.map(Input::on_gpu)) {
            let (storage, shape) = self.on_gpu(inputs)?;
            return Ok(tensor(Storage::Cuda(storage), shape));
        }
        let places = inputs.map(|input| input.storage.device().location());
        bail!("{}: expected all tensors on the CPU or on one GPU, found {places:?}", O::NAME)
    }
}

/// All values, if there are all.
fn all<T, const N: usize>(values: [Option<T>; N]) -> Option<[T; N]> {
    values.into_iter().collect::<Option<Vec<T>>>()?.try_into().ok()
}

/// An operation with the tensors that it was computed on.
struct Application<O, const N: usize> {
    adapter: Adapter<O, N>,
    inputs: [Tensor; N],
    output: Tensor,
}

impl<O: Computed<N>, const N: usize> Recorded for Application<O, N> {
    fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    fn output(&self) -> &Tensor {
        &self.output
    }

    fn backward(&self, gradient: Tensor, owned: bool, gradients: &mut Gradients) -> Result<()> {
        let (inputs, found) = (self.inputs.each_ref(), Some(&mut *gradients));
        let own = self.adapter.gradients(inputs, &self.output, &gradient, owned, found)?;
        let own = self.inputs.iter().zip(own).filter_map(|(input, own)| Some((input.id(), own?)));
        own.into_iter().try_for_each(|(id, own)| gradients.add(id, own))
    }
}

/// candle's calls for operations on `N` tensors.
pub(crate) trait Driven<const N: usize> {
    /// Computes, and records in candle's graph.
    fn record(self, inputs: [&Tensor; N]) -> Result<Tensor>
    where
        Self: Send + Sync + 'static;
}

/// Implements candle's trait for operations on `$arity` tensors.
macro_rules! drive {
    (
        $arity:literal, $custom:ident, $record:ident, $gradients:ty,
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
                let [$first, $($rest),*] = self.gradients([$first, $($rest),*], output, gradient, false, None)?;
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
        }
    };
}

type Gradient = Option<Tensor>;

drive!(1, CustomOp1, apply_op1, Gradient, x xl);
drive!(2, CustomOp2, apply_op2, (Gradient, Gradient), x xl, y yl);
drive!(3, CustomOp3, apply_op3, (Gradient, Gradient, Gradient), x xl, y yl, z zl);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::{BatchNorm, BatchStatistics, StatisticsSource, Tape, batch_norm};
    use candle_core::{Device, Var};

    /// The sum of two tensors, which hands its gradient on to both.
    struct Sum;

    impl Operation<2> for Sum {
        const NAME: &'static str = "sum";

        fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
            x.clone()
        }

        fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
            Ok(backward.needs.map(|needed| needed.then(|| backward.gradient.clone())))
        }
    }

    impl OnCpu<2> for Sum {
        fn compute(&self, [x, y]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
            let (x, y) = (x.slice::<f32>()?, y.slice::<f32>()?);
            Ok(CpuStorage::F32(x.iter().zip(y).map(|(x, y)| x + y).collect()))
        }
    }

    #[cfg(feature = "cuda")]
    impl OnGpu<2> for Sum {}

    #[test]
    fn a_gradient_that_others_share_is_not_overwritten() -> Result<()> {
        let new = |values: &[f32]| Var::new(values, &Device::Cpu);
        let (left, right) = (new(&[1.0, 2.0])?, new(&[3.0, 4.0])?);
        let (weight, bias) = (new(&[5.0, 7.0])?, new(&[0.0, 0.0])?);
        let (mean, variance) = (bias.as_detached_tensor(), weight.as_detached_tensor().ones_like()?);
        let statistics = &BatchStatistics::new(mean, variance);
        let (weight, bias, source) = (weight.as_tensor(), bias.as_tensor(), StatisticsSource::Running);
        let norm = BatchNorm { weight, bias, statistics, source, eps: 0.0 };
        let tape = Tape::start();
        // Both norms would overwrite the gradient that the sum hands on.
        let sum = apply(Sum, [&batch_norm(&left, norm)?, &batch_norm(&right, norm)?])?;
        let gradients = tape.backward(&sum)?;
        for leaf in [&left, &right] {
            assert_eq!(gradients.get(leaf).unwrap().to_vec1::<f32>()?, [5.0, 7.0]);
        }
        Ok(())
    }
}
