//! Stochastic gradient descent with momentum and weight decay, in place.

use crate::cpu::{self, f32_slice, f32_slice_mut};
use crate::error;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

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

/// `velocity = momentum * velocity + gradient + weight_decay * parameter`, then
/// `parameter -= learning_rate * velocity`, both in place: PyTorch's SGD without dampening, if `velocity`
/// starts at zero.
///
/// # Errors
/// If the three shapes differ.
pub fn sgd_step(parameter: &Var, gradient: &Tensor, velocity: &Var, config: SgdConfig) -> Result<()> {
    for tensor in [gradient, velocity.as_tensor()] {
        if tensor.dims() != parameter.dims() {
            let expected = format!("shape {:?} of the parameter", parameter.dims());
            return Err(error::shape("sgd_step", expected, tensor));
        }
    }
    velocity.inplace_op3(&gradient.contiguous()?, parameter, &Momentum(config))?;
    parameter.inplace_op2(velocity, &Descend(config.learning_rate as f32))
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
