//! Sums of gradients.

use super::element::{Element, UpdateByElement};
use super::sweep::BLOCK;
use super::vectors::wide;
use crate::gradients::Add;
use crate::operation::CpuInputs;
use candle_core::Result;
use rayon::prelude::*;

impl UpdateByElement<1> for Add {
    fn update<T: Element>(&self, target: &mut [T], [gradient]: CpuInputs<'_, 1>) -> Result<()> {
        let gradient = gradient.slice::<T>()?;
        target.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(target, gradient)| {
            wide(|| {
                for (sum, value) in target.iter_mut().zip(gradient) {
                    *sum = T::rounded(sum.wide() + value.wide());
                }
            });
        });
        Ok(())
    }
}
