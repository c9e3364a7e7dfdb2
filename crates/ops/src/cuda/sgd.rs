//! Stochastic gradient descent over all parameters in one launch.

use super::launch::{grid, launch};
use super::memory::address;
use crate::in_place::UpdateOnGpu;
use crate::sgd_update::{Descend, Momentum, SgdUpdate};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, Result, Tensor};

// One kernel does both for all parameters.
impl UpdateOnGpu<2> for Momentum {}
impl UpdateOnGpu<1> for Descend {}

/// An update as the kernels read it. The first three fields are addresses.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    parameter: u64,
    gradient: u64,
    velocity: u64,
    count: u64,
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    unused: f32,
}

/// The elements of an update that one block computes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    update: u32,
    unused: u32,
    start: u64,
}

// SAFETY: plain numbers.
unsafe impl DeviceRepr for Update {}
// SAFETY: plain numbers.
unsafe impl DeviceRepr for Part {}

/// Elements of a part.
const PART: usize = 16384;

/// Applies all updates, or none if a gradient is not finite: then the index of the first such
/// update.
pub(crate) fn step(device: &CudaDevice, updates: &[SgdUpdate<'_>]) -> Result<Option<usize>> {
    let gradients: Vec<Tensor> =
        updates.iter().map(|update| update.gradient.contiguous()).collect::<Result<_>>()?;
    let mut table = Vec::with_capacity(updates.len());
    let mut parts = Vec::new();
    for (index, (update, gradient)) in updates.iter().zip(&gradients).enumerate() {
        let count = gradient.elem_count();
        table.push(Update {
            parameter: address::<f32>(device, update.parameter)?,
            gradient: address::<f32>(device, gradient)?,
            velocity: address::<f32>(device, update.velocity)?,
            count: count as u64,
            learning_rate: update.config.learning_rate as f32,
            momentum: update.config.momentum as f32,
            weight_decay: update.config.weight_decay as f32,
            unused: 0.0,
        });
        let starts = (0..count).step_by(PART);
        parts.extend(starts.map(|start| Part { update: index as u32, unused: 0, start: start as u64 }));
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let config = grid([parts.len(), 1, 1]);
    let (table, parts) = (device.clone_htod(&table)?, device.clone_htod(&parts)?);
    let count = updates.len() as u32;
    let mut first = device.clone_htod(&[count])?;
    launch!(device, "first_not_finite", config, &table, &parts, &mut first);
    launch!(device, "sgd_step", config, &table, &parts, &first, &count);
    // The only wait, after everything has been launched.
    let first = device.clone_dtoh(&first)?;
    Ok(first.first().map(|&first| first as usize).filter(|&first| first < updates.len()))
}
