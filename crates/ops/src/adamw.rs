//! `AdamW`, in place: Loshchilov, Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019.

use crate::adamw_update::AdamWUpdate;
use crate::{cpu, error};
use candle_core::{DType, Device, Result};

/// `AdamW` for all of `updates`, in place, as PyTorch computes it if mean and square start at zero:
/// `p -= rate decay p`, `m = beta1 m + (1 - beta1) g`, `s = beta2 s + (1 - beta2) g^2`, `p -= rate /
/// (1 - beta1^step) m / (sqrt(s / (1 - beta2^step)) + epsilon)`.
///
/// If a gradient is not finite, nothing changes, and the result is the index of the first such
/// update. Cost: everything is read and written once, except that the gradients and the means are read
/// again. A GPU takes two launches for any number of parameters.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use robustseg_ops::{AdamWConfig, AdamWUpdate, adamw_step};
/// # fn main() -> candle_core::Result<()> {
/// let parameter = Var::new(&[1_f32], &Device::Cpu)?;
/// let [mean, square] = [Var::new(&[0_f32], &Device::Cpu)?, Var::new(&[0_f32], &Device::Cpu)?];
/// let gradient = Tensor::new(&[0.5_f32], &Device::Cpu)?;
/// let config = AdamWConfig {
///     learning_rate: 0.25, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 1,
/// };
/// let (parameter, mean, square) = (&parameter, &mean, &square);
/// let update = AdamWUpdate { parameter, gradient: &gradient, mean, square, config };
/// assert_eq!(adamw_step(&[update])?, None);
/// // The first step has the length of the learning rate.
/// assert!((parameter.to_vec1::<f32>()?[0] - 0.75).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes of an update differ, an element is not f32, or the tensors are on several devices.
pub fn adamw_step(updates: &[AdamWUpdate<'_>]) -> Result<Option<usize>> {
    let Some(first) = updates.first() else {
        return Ok(None);
    };
    for update in updates {
        let AdamWUpdate { parameter, gradient, mean, square, .. } = update;
        for tensor in [parameter.as_tensor(), gradient, mean.as_tensor(), square.as_tensor()] {
            error::dtype("adamw_step", DType::F32, tensor)?;
            if tensor.dims() != parameter.dims() {
                let expected = format!("shape {:?} of the parameter", parameter.dims());
                return Err(error::shape("adamw_step", expected, tensor));
            }
            if !tensor.device().same_device(first.parameter.device()) {
                candle_core::bail!("adamw_step: all tensors must be on the same device");
            }
        }
    }
    match first.parameter.device() {
        Device::Cpu => cpu::adamw::step(updates),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::adamw::step(device, updates),
        other => candle_core::bail!("adamw_step: no such operation on {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdamWConfig;
    use candle_core::{Tensor, Var};

    /// PyTorch 2.11: torch.optim.AdamW over five steps of a parameter [1, -2, 0.5], with the
    /// gradients [sin(step + place)], rate 0.1 / step, weight decay 0.05, beta 0.8 and 0.95, epsilon
    /// 1e-6, in f32.
    const PYTORCH: [f32; 3] = [0.813_125_9, -2.092_322_3, 0.479_433_45];

    #[test]
    fn five_steps_agree_with_pytorch() -> Result<()> {
        let device = &Device::Cpu;
        let parameter = Var::new(&[1_f32, -2.0, 0.5], device)?;
        let [mean, square] = [Var::zeros(3, DType::F32, device)?, Var::zeros(3, DType::F32, device)?];
        for number in 1..=5_u64 {
            let gradient: Vec<f32> =
                (0..3).map(|place| (number as f64 + f64::from(place)).sin() as f32).collect();
            let gradient = Tensor::new(gradient, device)?;
            let config = AdamWConfig {
                learning_rate: 0.1 / number as f64,
                beta1: 0.8,
                beta2: 0.95,
                epsilon: 1e-6,
                weight_decay: 0.05,
                step: number,
            };
            let (parameter, mean, square) = (&parameter, &mean, &square);
            let update = AdamWUpdate { parameter, gradient: &gradient, mean, square, config };
            assert_eq!(adamw_step(&[update])?, None);
        }
        for (found, expected) in parameter.to_vec1::<f32>()?.iter().zip(PYTORCH) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        Ok(())
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named_and_nothing_moves() -> Result<()> {
        let device = &Device::Cpu;
        let [parameter, mean, square] = [1_f32, 0.0, 0.0].map(|value| Var::new(&[value, value], device));
        let (parameter, mean, square) = (&parameter?, &mean?, &square?);
        let config = AdamWConfig {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step: 1,
        };
        for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let [good, bad] = [1.0, fault].map(|value| Tensor::new(&[0.5, value], device));
            let (good, bad) = (good?, bad?);
            let update = |gradient| AdamWUpdate { parameter, gradient, mean, square, config };
            assert_eq!(adamw_step(&[update(&good), update(&bad)])?, Some(1));
            assert_eq!(parameter.to_vec1::<f32>()?, [1.0, 1.0]);
            assert_eq!(mean.to_vec1::<f32>()?, [0.0, 0.0]);
        }
        let short = Tensor::new(&[0.5_f32], device)?;
        assert!(adamw_step(&[AdamWUpdate { parameter, gradient: &short, mean, square, config }]).is_err());
        Ok(())
    }
}
