//! Sums of gradients.

use super::sweep::BLOCK;
use super::vectors::wide;
use crate::gradients::Add;
use crate::in_place::UpdateOnCpu;
use crate::operation::CpuInputs;
use candle_core::Result;
use rayon::prelude::*;

impl UpdateOnCpu<1> for Add {
    fn update(&self, target: &mut [f32], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        let gradient = gradient.slice::<f32>()?;
        target.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(target, gradient)| {
            wide(|| {
                for (sum, value) in target.iter_mut().zip(gradient) {
                    *sum += value;
                }
            });
        });
        Ok(())
    }
}
