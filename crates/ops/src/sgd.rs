//! Stochastic gradient descent with momentum and weight decay, in place.

use crate::sgd_update::SgdUpdate;
use crate::{cpu, error};
use candle_core::{DType, Device, Result};

/// `direction = gradient + weight_decay * parameter`, `velocity = momentum * velocity + direction`,
/// then `parameter -= learning_rate * velocity`, or with Nesterov's momentum `parameter -=
/// learning_rate * (direction + momentum * velocity)`, in place, for all of `updates`: PyTorch's SGD
/// without dampening, if the velocities start at zero.
///
/// If a gradient is not finite, nothing changes, and the result is the index of the first such
/// update. Cost: everything is read and written once, except that the gradients are read twice. A
/// GPU takes two launches for any number of parameters.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use robustseg_ops::{SgdConfig, SgdUpdate, sgd_step};
/// # fn main() -> candle_core::Result<()> {
/// let parameter = Var::new(&[1_f32], &Device::Cpu)?;
/// let (gradient, velocity) = (Tensor::new(&[0.5_f32], &Device::Cpu)?, Var::new(&[0_f32], &Device::Cpu)?);
/// let config = SgdConfig { learning_rate: 0.5, momentum: 0.9, weight_decay: 0.0, nesterov: false };
/// let update = SgdUpdate { parameter: &parameter, gradient: &gradient, velocity: &velocity, config };
/// assert_eq!(sgd_step(&[update])?, None);
/// assert_eq!(parameter.to_vec1::<f32>()?, [0.75]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the three shapes of an update differ, an element is not f32, or the tensors are on several
/// devices.
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
    match first.parameter.device() {
        Device::Cpu => cpu::sgd::step(updates),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::sgd::step(device, updates),
        other => candle_core::bail!("sgd_step: no such operation on {other:?}"),
    }
}
