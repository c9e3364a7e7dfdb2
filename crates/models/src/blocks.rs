//! Blocks one after the other, whose maps a backward pass may compute again.

use std::ops::Deref;
use std::sync::Arc;

use crate::run::Run;
use candle_core::{Result, Tensor};

/// A part of a network that repeats.
pub(crate) trait Block: Send + Sync + 'static {
    /// How many blocks to compute again at a time. One map is kept for each time, and the maps of all
    /// blocks at a time exist at once, so the number weighs one against the other.
    const TOGETHER: usize;

    /// The block's output.
    fn forward(&self, x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor>;
}

/// Blocks one after the other.
pub(crate) struct Blocks<B>(Arc<[B]>);

impl<B: Block> Blocks<B> {
    /// The output of the last block. With [`Run::recompute`], maps between are computed again.
    pub(crate) fn forward(&self, mut x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        if !run.recompute {
            return in_turn(self, x, run);
        }
        for first in (0..self.len()).step_by(B::TOGETHER) {
            let (blocks, range) = (Arc::clone(&self.0), first..self.len().min(first + B::TOGETHER));
            x = run.recomputed(&x, move |x, run| in_turn(&blocks[range.clone()], x.clone(), run))?;
        }
        Ok(x)
    }
}

fn in_turn<B: Block>(blocks: &[B], x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
    blocks.iter().try_fold(x, |x, block| block.forward(x, run))
}

impl<B> Deref for Blocks<B> {
    type Target = [B];

    fn deref(&self) -> &[B] {
        &self.0
    }
}

impl<B> FromIterator<B> for Blocks<B> {
    fn from_iter<I: IntoIterator<Item = B>>(blocks: I) -> Self {
        Self(blocks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
