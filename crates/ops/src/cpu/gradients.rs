//! Sums of gradients.

use super::element::Element;
use super::sweep::BLOCK;
use super::vectors::wide;
use crate::gradients::Add;
use crate::in_place::UpdateOnCpu;
use crate::operation::CpuInputs;
use candle_core::Result;
use half::bf16;
use rayon::prelude::*;

impl UpdateOnCpu<1> for Add {
    fn update(&self, target: &mut [f32], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        add::<f32>(target, gradient.slice()?);
        Ok(())
    }

    fn update_bf16(&self, target: &mut [bf16], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        add::<bf16>(target, gradient.slice()?);
        Ok(())
    }
}

fn add<T: Element>(target: &mut [T], gradient: &[T]) {
    target.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(target, gradient)| {
        wide(|| {
            for (sum, value) in target.iter_mut().zip(gradient) {
                *sum = T::rounded(sum.wide() + value.wide());
            }
        });
    });
}
