//! Stochastic gradient descent.

use super::sweep::BLOCK;
use crate::in_place::{UpdateOnCpu, update1, update2};
use crate::operation::{CpuInputs, Input};
use crate::sgd_update::{Descend, LookAhead, Momentum, SgdUpdate};
use candle_core::{Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Applies all updates, or none if a gradient is not finite: then the index of the first such
/// update.
pub(crate) fn step(updates: &[SgdUpdate<'_>]) -> Result<Option<usize>> {
    let fault = first_not_finite(updates.iter().map(|update| update.gradient))?;
    if fault.is_some() {
        return Ok(fault);
    }
    for SgdUpdate { parameter, gradient, velocity, config } in updates {
        let gradient = &gradient.contiguous()?;
        update2(&Momentum(*config), velocity, [gradient, parameter])?;
        if config.nesterov {
            update2(&LookAhead(*config), parameter, [gradient, velocity])?;
        } else {
            update1(&Descend(config.learning_rate as f32), parameter, velocity)?;
        }
    }
    Ok(None)
}

impl UpdateOnCpu<2> for Momentum {
    fn update(&self, velocity: &mut [f32], [gradient, parameter]: CpuInputs<'_, 2>) -> Result<()> {
        let (factor, decay) = (self.0.momentum as f32, self.0.weight_decay as f32);
        momentum(velocity, gradient.slice()?, parameter.slice()?, factor, decay);
        Ok(())
    }
}

impl UpdateOnCpu<1> for Descend {
    fn update(&self, parameter: &mut [f32], [velocity]: CpuInputs<'_, 1>) -> Result<()> {
        descend(parameter, velocity.slice()?, self.0);
        Ok(())
    }
}

impl UpdateOnCpu<2> for LookAhead {
    fn update(&self, parameter: &mut [f32], [gradient, velocity]: CpuInputs<'_, 2>) -> Result<()> {
        let (rate, momentum) = (self.0.learning_rate as f32, self.0.momentum as f32);
        let decay = self.0.weight_decay as f32;
        let others = velocity.slice()?.par_chunks(BLOCK).zip(gradient.slice()?.par_chunks(BLOCK));
        parameter.par_chunks_mut(BLOCK).zip(others).for_each(
            |(parameter, (velocity, gradient)): (&mut [f32], (&[f32], &[f32]))| {
                for ((p, v), g) in parameter.iter_mut().zip(velocity).zip(gradient) {
                    *p -= rate * ((g + decay * *p) + momentum * v);
                }
            },
        );
        Ok(())
    }
}

/// The index of the first of `gradients` that is not finite.
pub(super) fn first_not_finite<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<Option<usize>> {
    for (index, gradient) in gradients.into_iter().enumerate() {
        let gradient = gradient.contiguous()?;
        let (storage, layout) = gradient.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("an optimiser's step: all tensors must be on the same device");
        };
        if !all_finite(Input { storage, layout }.slice()?) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Whether all elements are finite.
fn all_finite(x: &[f32]) -> bool {
    // A block is read to its end, which allows vectors.
    x.par_chunks(BLOCK).all(|block| block.iter().fold(true, |finite, value| finite & value.is_finite()))
}

/// `velocity = momentum * velocity + gradient + weight_decay * parameter`, in place.
fn momentum(velocity: &mut [f32], gradient: &[f32], parameter: &[f32], momentum: f32, weight_decay: f32) {
    velocity.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(parameter.par_chunks(BLOCK)).for_each(
        |((velocity, gradient), parameter)| {
            for ((v, g), p) in velocity.iter_mut().zip(gradient).zip(parameter) {
                *v = momentum * *v + (g + weight_decay * p);
            }
        },
    );
}

/// `parameter -= learning_rate * velocity`, in place.
fn descend(parameter: &mut [f32], velocity: &[f32], learning_rate: f32) {
    parameter.par_chunks_mut(BLOCK).zip(velocity.par_chunks(BLOCK)).for_each(|(parameter, velocity)| {
        for (p, v) in parameter.iter_mut().zip(velocity) {
            *p -= learning_rate * v;
        }
    });
}
