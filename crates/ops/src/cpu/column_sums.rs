//! Sums over pixels, and the statistics that are made of them. Rows are pixels, columns are
//! channels.

use super::element::{ByElement, Element};
use super::sweep::rows_block;
use super::vectors::wide;
use crate::batch_norm::Statistics;
use crate::channels::ColumnSum;
use crate::operation::CpuInputs;
use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

impl ByElement<1> for Statistics {
    fn compute<T: Element>(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(statistics::<T>(x.slice()?, self.channels).concat()))
    }
}

impl ByElement<1> for ColumnSum {
    fn compute<T: Element>(&self, [x]: CpuInputs<'_, 1>) -> Result<CpuStorage> {
        Ok(CpuStorage::F32(column_sum::<T>(x.slice()?, self.channels)))
    }
}

/// Sums of every column, one vector for each block of rows, added in the order of the blocks.
pub(super) fn column_sums<const N: usize>(
    rows: usize,
    channels: usize,
    block_sums: impl Fn(std::ops::Range<usize>, &mut [Vec<f32>; N]) + Sync,
) -> [Vec<f64>; N] {
    let block = rows_block(channels).min(256);
    let parts: Vec<[Vec<f32>; N]> = (0..rows.div_ceil(block))
        .into_par_iter()
        .map(|index| {
            let mut sums = std::array::from_fn(|_| vec![0.0; channels]);
            let rows = index * block..((index + 1) * block).min(rows);
            block_sums(rows.start * channels..rows.end * channels, &mut sums);
            sums
        })
        .collect();
    let mut totals = std::array::from_fn(|_| vec![0.0; channels]);
    for part in &parts {
        for (total, part) in totals.iter_mut().zip(part) {
            for (total, value) in total.iter_mut().zip(part) {
                *total += f64::from(*value);
            }
        }
    }
    totals
}

/// Sum over rows.
fn column_sum<T: Element>(x: &[T], channels: usize) -> Vec<f32> {
    let [sum] = column_sums(x.len() / channels, channels, |span, [sum]| wide(|| add_rows(sum, &x[span])));
    sum.into_iter().map(|sum| sum as f32).collect()
}

// Code that `wide` runs must be inlined into it. Otherwise it is compiled for the narrowest
// vectors.
#[inline(always)]
#[allow(clippy::inline_always)]
fn add_rows<T: Element>(sum: &mut [f32], rows: &[T]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value.wide();
        }
    }
}

/// Elements of a block whose statistics are taken from the cache: half a megabyte.
const CACHED: usize = 1 << 17;

/// Mean and biased variance of every channel, with one reading of the memory. A block of rows is
/// read twice while it is in the cache, for its mean and for its squared distances from that mean.
/// The blocks are merged in their order (Chan et al. 1979).
fn statistics<T: Element>(x: &[T], channels: usize) -> [Vec<f32>; 2] {
    let rows = (CACHED / channels).clamp(1, 256);
    let parts: Vec<[Vec<f32>; 3]> = x
        .par_chunks(rows * channels)
        .map(|block| {
            let mut parts = std::array::from_fn(|_| vec![0.0; channels]);
            wide(|| block_moments(block, &mut parts));
            parts
        })
        .collect();
    let (mut mean, mut squares, mut seen) = (vec![0.0_f64; channels], vec![0.0_f64; channels], 0.0);
    for (block, [centre, first, second]) in x.chunks(rows * channels).zip(&parts) {
        let count = (block.len() / channels) as f64;
        let total = seen + count;
        let merged = mean.iter_mut().zip(&mut squares).zip(centre).zip(first.iter().zip(second));
        for (((mean, squares), centre), (first, second)) in merged {
            // The first moment around the block's rounded mean corrects for the rounding.
            let first = f64::from(*first);
            let distance = f64::from(*centre) + first / count - *mean;
            *squares +=
                f64::from(*second) - first * first / count + distance * distance * seen * count / total;
            *mean += distance * count / total;
        }
        seen = total;
    }
    let variance = squares.iter().map(|squares| (squares / seen).max(0.0) as f32).collect();
    [mean.iter().map(|mean| *mean as f32).collect(), variance]
}

/// Of every column of `block`: the mean, rounded, and the sums of the distances from it and of
/// their squares.
#[inline(always)]
#[allow(clippy::inline_always)]
fn block_moments<T: Element>(block: &[T], [centre, first, second]: &mut [Vec<f32>; 3]) {
    let channels = centre.len();
    add_rows(centre, block);
    let rows = (block.len() / channels) as f32;
    for sum in centre.iter_mut() {
        *sum /= rows;
    }
    for row in block.chunks_exact(channels) {
        let sums = first.iter_mut().zip(second.iter_mut());
        for (((first, second), value), centre) in sums.zip(row).zip(&*centre) {
            let distance = value.wide() - centre;
            *first += distance;
            *second += distance * distance;
        }
    }
}
