//! `AdamW` over all parameters in one launch.

use super::descent::{Kernels, descend, rounded};
use super::memory::address;
use crate::adamw_update::{AdamWUpdate, Descend, Factors, Mean, Square};
use crate::in_place::UpdateOnGpu;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, Result};

// One kernel does all three for all parameters.
impl UpdateOnGpu<1> for Mean {}
impl UpdateOnGpu<1> for Square {}
impl UpdateOnGpu<2> for Descend {}

/// An update as the kernels read it. The first five fields are addresses.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    parameter: u64,
    gradient: u64,
    mean: u64,
    square: u64,
    /// Of the parameter's copy in bf16, or null.
    rounded: u64,
    count: u64,
    factors: Factors,
}

// SAFETY: plain numbers.
unsafe impl DeviceRepr for Update {}

const KERNELS: Kernels = Kernels { check: "adamw_first_not_finite", step: "adamw_step" };

/// Applies all updates, or none if a gradient is not finite: then the index of the first such
/// update.
pub(crate) fn step(device: &CudaDevice, updates: &[AdamWUpdate<'_>]) -> Result<Option<usize>> {
    let pairs = updates.iter().map(|update| (update.parameter, update.gradient));
    descend(device, &KERNELS, pairs, |index, gradient| {
        let update = &updates[index];
        Ok(Update {
            parameter: address::<f32>(device, update.parameter)?,
            gradient: address::<f32>(device, gradient)?,
            mean: address::<f32>(device, update.mean)?,
            square: address::<f32>(device, update.square)?,
            rounded: rounded(device, update.parameter)?,
            count: gradient.elem_count() as u64,
            factors: Factors::of(&update.config),
        })
    })
}
