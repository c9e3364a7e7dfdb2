//! One step of `AdamW`, on no device in particular.

use crate::in_place::Update;
use candle_core::{Tensor, Var};

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
