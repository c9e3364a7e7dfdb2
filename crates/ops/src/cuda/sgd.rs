//! Stochastic gradient descent over all parameters in one launch.

use super::descent::{Kernels, descend, rounded};
use super::memory::address;
use crate::in_place::UpdateOnGpu;
use crate::sgd_update::{Descend, LookAhead, Momentum, SgdUpdate};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, Result};

// One kernel does both for all parameters.
impl UpdateOnGpu<2> for Momentum {}
impl UpdateOnGpu<2> for LookAhead {}
impl UpdateOnGpu<1> for Descend {}

/// An update as the kernels read it. The first four fields are addresses.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    parameter: u64,
    gradient: u64,
    velocity: u64,
    /// Of the parameter's copy in bf16, or null.
    rounded: u64,
    count: u64,
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    nesterov: u32,
}

// SAFETY: plain numbers.
unsafe impl DeviceRepr for Update {}

const KERNELS: Kernels = Kernels { check: "sgd_first_not_finite", step: "sgd_step" };

/// Applies all updates, or none if a gradient is not finite: then the index of the first such
/// update.
pub(crate) fn step(device: &CudaDevice, updates: &[SgdUpdate<'_>]) -> Result<Option<usize>> {
    let pairs = updates.iter().map(|update| (update.parameter, update.gradient));
    descend(device, &KERNELS, pairs, |index, gradient| {
        let update = &updates[index];
        Ok(Update {
            parameter: address::<f32>(device, update.parameter)?,
            gradient: address::<f32>(device, gradient)?,
            velocity: address::<f32>(device, update.velocity)?,
            rounded: rounded(device, update.parameter)?,
            count: gradient.elem_count() as u64,
            learning_rate: update.config.learning_rate as f32,
            momentum: update.config.momentum as f32,
            weight_decay: update.config.weight_decay as f32,
            nesterov: u32::from(update.config.nesterov),
        })
    })
}
