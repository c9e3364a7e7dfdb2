//! `AdamW`.

use super::sgd::first_not_finite;
use super::sweep::BLOCK;
use crate::adamw_update::{AdamWUpdate, Descend, Factors, Mean, Square};
use crate::in_place::{UpdateOnCpu, update1, update2};
use crate::operation::CpuInputs;
use candle_core::Result;
use rayon::prelude::*;

/// Applies all updates, or none if a gradient is not finite: then the index of the first such
/// update.
pub(crate) fn step(updates: &[AdamWUpdate<'_>]) -> Result<Option<usize>> {
    let fault = first_not_finite(updates.iter().map(|update| update.gradient))?;
    if fault.is_some() {
        return Ok(fault);
    }
    for AdamWUpdate { parameter, gradient, mean, square, config } in updates {
        let gradient = gradient.contiguous()?;
        let factors = Factors::of(config);
        update1(&Mean(factors), mean, &gradient)?;
        update1(&Square(factors), square, &gradient)?;
        update2(&Descend(factors), parameter, [mean, square])?;
    }
    Ok(None)
}

/// Overwrites each `target` by `value(target, input)`.
fn sweep(target: &mut [f32], input: &[f32], value: impl Fn(f32, f32) -> f32 + Sync) {
    target.par_chunks_mut(BLOCK).zip(input.par_chunks(BLOCK)).for_each(|(target, input)| {
        for (target, input) in target.iter_mut().zip(input) {
            *target = value(*target, *input);
        }
    });
}

impl UpdateOnCpu<1> for Mean {
    fn update(&self, mean: &mut [f32], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        let Factors { mean_kept: kept, mean_new: new, .. } = self.0;
        sweep(mean, gradient.slice()?, |mean, gradient| kept * mean + new * gradient);
        Ok(())
    }
}

impl UpdateOnCpu<1> for Square {
    fn update(&self, square: &mut [f32], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        let Factors { square_kept: kept, square_new: new, .. } = self.0;
        sweep(square, gradient.slice()?, |square, gradient| kept * square + new * (gradient * gradient));
        Ok(())
    }
}

impl UpdateOnCpu<2> for Descend {
    fn update(&self, parameter: &mut [f32], [mean, square]: CpuInputs<'_, 2>) -> Result<()> {
        let Factors { kept, step_size, root, epsilon, .. } = self.0;
        let (mean, square) = (mean.slice::<f32>()?, square.slice::<f32>()?);
        let all = parameter.par_chunks_mut(BLOCK).zip(mean.par_chunks(BLOCK)).zip(square.par_chunks(BLOCK));
        all.for_each(|((parameter, mean), square)| {
            for ((p, m), s) in parameter.iter_mut().zip(mean).zip(square) {
                *p = kept * *p - step_size * (m / (s.sqrt() / root + epsilon));
            }
        });
        Ok(())
    }
}
