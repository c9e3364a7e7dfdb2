//! The launches of an optimiser: one over all gradients, one over all parameters.

use super::launch::{grid, launch};
use super::memory::address;
use crate::rounded_copy::{copy_of, written};
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CudaDevice, Result, Tensor, Var};

/// The elements of an update that one block computes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    update: u32,
    unused: u32,
    start: u64,
}

// SAFETY: plain numbers.
unsafe impl DeviceRepr for Part {}

/// Elements of a part.
const PART: usize = 16384;

/// Kernels of an optimiser by name.
pub(super) struct Kernels {
    /// Finds the first gradient that is not finite.
    pub(super) check: &'static str,
    /// Applies all updates, unless a gradient is not finite.
    pub(super) step: &'static str,
}

/// The address of `parameter`'s copy in bf16, or null.
pub(super) fn rounded(device: &CudaDevice, parameter: &Tensor) -> Result<u64> {
    copy_of(parameter).map_or(Ok(0), |copy| address::<half::bf16>(device, &copy))
}

/// Applies the updates with these parameters and gradients, or none if a gradient is not finite: then
/// the index of the first such update. `row` is the update with an index and its contiguous gradient,
/// as the kernels read it.
pub(super) fn descend<'a, U: DeviceRepr + 'static>(
    device: &CudaDevice,
    kernels: &Kernels,
    updates: impl Iterator<Item = (&'a Var, &'a Tensor)>,
    row: impl Fn(usize, &Tensor) -> Result<U>,
) -> Result<Option<usize>> {
    let (parameters, gradients): (Vec<&Var>, Vec<&Tensor>) = updates.unzip();
    let gradients: Vec<Tensor> = gradients.into_iter().map(Tensor::contiguous).collect::<Result<_>>()?;
    let rows = gradients.iter().enumerate().map(|(index, gradient)| row(index, gradient));
    let table: Vec<U> = rows.collect::<Result<_>>()?;
    let parts: Vec<Part> = gradients
        .iter()
        .enumerate()
        .flat_map(|(index, gradient)| {
            let starts = (0..gradient.elem_count()).step_by(PART);
            starts.map(move |start| Part { update: index as u32, unused: 0, start: start as u64 })
        })
        .collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let config = grid([parts.len(), 1, 1]);
    let count = table.len() as u32;
    let (table, parts) = (device.clone_htod(&table)?, device.clone_htod(&parts)?);
    let mut first = device.clone_htod(&[count])?;
    launch!(device, kernels.check, config, &table, &parts, &mut first);
    launch!(device, kernels.step, config, &table, &parts, &first, &count);
    // The only wait, after everything has been launched.
    let first = device.clone_dtoh(&first)?;
    let first = first.first().filter(|&&first| first < count).map(|&first| first as usize);
    if first.is_none() {
        for parameter in parameters {
            written(parameter);
        }
    }
    Ok(first)
}
