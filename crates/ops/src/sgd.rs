//! Stochastic gradient descent with momentum and weight decay, in place.

use crate::cpu::{self, f32_slice, f32_slice_mut};
use crate::error;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

/// Constants of one SGD step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the former velocity that is kept.
    pub momentum: f64,
    /// Factor of the L2 penalty's gradient.
    pub weight_decay: f64,
}

/// A parameter with what changes it, all of one shape, f32.
#[derive(Clone, Copy, Debug)]
pub struct SgdUpdate<'a> {
    /// What is trained.
    pub parameter: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its velocity.
    pub velocity: &'a Var,
    /// The constants of its step.
    pub config: SgdConfig,
}

/// `velocity = momentum * velocity + gradient + weight_decay * parameter`, then
/// `parameter -= learning_rate * velocity`, both in place, for all of `updates`: PyTorch's SGD without dampening, if the
/// velocities start at zero.
///
/// If a gradient holds a number that is not finite, nothing changes, and the index of the first such update is returned.
/// Cost: on a GPU two launches, whatever the number of parameters; everything is read and written once, but the gradients,
/// which are read twice.
///
/// # Errors
/// If the three shapes of an update differ, an element is not f32, or the tensors are on several devices.
pub fn sgd_step(updates: &[SgdUpdate<'_>]) -> Result<Option<usize>> {
    let Some(first) = updates.first() else {
        return Ok(None);
    };
    for update in updates {
        let SgdUpdate { parameter, gradient, velocity, .. } = update;
        for tensor in [parameter.as_tensor(), gradient, velocity.as_tensor()] {
            error::dtype("sgd_step", DType::F32, tensor)?;
            if tensor.dims() != parameter.dims() {
                let expected = format!("shape {:?} of the parameter", parameter.dims());
                return Err(error::shape("sgd_step", expected, tensor));
            }
            if !tensor.device().same_device(first.parameter.device()) {
                candle_core::bail!("sgd_step: all tensors must be on the same device");
            }
        }
    }
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(device) = first.parameter.device() {
        return crate::cuda::sgd::step(device, updates);
    }
    step_by_step(updates)
}

fn step_by_step(updates: &[SgdUpdate<'_>]) -> Result<Option<usize>> {
    for (index, update) in updates.iter().enumerate() {
        let gradient = update.gradient.contiguous()?;
        let (storage, layout) = gradient.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            candle_core::bail!("sgd_step: no such operation on {:?}", gradient.device());
        };
        if !cpu::elementwise::all_finite(f32_slice(storage, layout)?) {
            return Ok(Some(index));
        }
    }
    for SgdUpdate { parameter, gradient, velocity, config } in updates {
        velocity.inplace_op3(&gradient.contiguous()?, parameter, &Momentum(*config))?;
        parameter.inplace_op2(velocity, &Descend(config.learning_rate as f32))?;
    }
    Ok(None)
}

struct Momentum(SgdConfig);

impl InplaceOp3 for Momentum {
    fn name(&self) -> &'static str {
        "sgd_momentum"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        vl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
        parameter: &CpuStorage,
        pl: &Layout,
    ) -> Result<()> {
        let (momentum, decay) = (self.0.momentum as f32, self.0.weight_decay as f32);
        let velocity = f32_slice_mut(velocity, vl)?;
        let (gradient, parameter) = (f32_slice(gradient, gl)?, f32_slice(parameter, pl)?);
        cpu::elementwise::momentum(velocity, gradient, parameter, momentum, decay);
        Ok(())
    }
}

struct Descend(f32);

impl InplaceOp2 for Descend {
    fn name(&self) -> &'static str {
        "sgd_descend"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        pl: &Layout,
        velocity: &CpuStorage,
        vl: &Layout,
    ) -> Result<()> {
        cpu::elementwise::descend(f32_slice_mut(parameter, pl)?, f32_slice(velocity, vl)?, self.0);
        Ok(())
    }
}
