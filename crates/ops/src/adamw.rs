//! `AdamW`, in place: Loshchilov, Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019.

use crate::in_place::Update;
use crate::{cpu, error};
use candle_core::{DType, Device, Result, Tensor, Var};

/// Constants of one `AdamW` step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the previous mean gradient that is kept.
    pub beta1: f64,
    /// Share of the previous mean square that is kept.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Decay of the parameter in units of the learning rate.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// A parameter and the tensors that change it, all of one shape, f32.
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate<'a> {
    /// The trained variable.
    pub parameter: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Running mean of its gradients.
    pub mean: &'a Var,
    /// Running mean of their squares.
    pub square: &'a Var,
    /// The constants of its step.
    pub config: AdamWConfig,
}

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

/// The factors of one step, rounded to f32 once. The kernels read the same layout.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    /// `beta1` and `1 - beta1`.
    pub(crate) mean_kept: f32,
    pub(crate) mean_new: f32,
    /// `beta2` and `1 - beta2`.
    pub(crate) square_kept: f32,
    pub(crate) square_new: f32,
    /// `1 - learning_rate weight_decay`.
    pub(crate) kept: f32,
    /// The learning rate over the first bias correction.
    pub(crate) step_size: f32,
    /// The root of the second bias correction.
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
}

impl Factors {
    pub(crate) fn of(config: &AdamWConfig) -> Self {
        let AdamWConfig { learning_rate, beta1, beta2, epsilon, weight_decay, step } = *config;
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            mean_kept: beta1 as f32,
            mean_new: (1.0 - beta1) as f32,
            square_kept: beta2 as f32,
            square_new: (1.0 - beta2) as f32,
            kept: (1.0 - learning_rate * weight_decay) as f32,
            step_size: (learning_rate / correction(beta1)) as f32,
            root: correction(beta2).sqrt() as f32,
            epsilon: epsilon as f32,
        }
    }
}

/// Overwrites a running mean, given the gradient.
pub(crate) struct Mean(pub(crate) Factors);

impl Update<1> for Mean {
    const NAME: &'static str = "adamw_mean";
}

/// Overwrites a running mean of squares, given the gradient.
pub(crate) struct Square(pub(crate) Factors);

impl Update<1> for Square {
    const NAME: &'static str = "adamw_square";
}

/// Overwrites the parameter, given mean and square.
pub(crate) struct Descend(pub(crate) Factors);

impl Update<2> for Descend {
    const NAME: &'static str = "adamw_descend";
}

#[cfg(test)]
mod tests {
    use super::*;

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
