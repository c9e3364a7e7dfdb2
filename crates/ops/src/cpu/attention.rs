//! Attention over blocks of queries, whose scores fit the cache.

use super::elementary::exp;
use super::lanes::{largest, sum};
use super::matrix::{Matrix, multiply};
use super::workspace;
use crate::attention::{Attention, AttentionGradient};
use crate::operation::{CpuInputs, OnCpu};
use candle_core::{CpuStorage, Result};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::ops::Range;

/// Scores of a block of queries: half a megabyte.
const SCORES: usize = 1 << 17;
/// Most parts into which the queries of an image are cut for the gradient of keys and values.
const PARTS: usize = 8;

impl OnCpu<2> for Attention {
    fn compute(&self, [query, key_value]: CpuInputs<'_, 2>) -> Result<CpuStorage> {
        let sizes = Sizes::new(self, query.slice()?, key_value.slice()?);
        let mut out = vec![0.0; sizes.query.len()];
        let length = sizes.queries * sizes.channels;
        out.par_chunks_mut(length).enumerate().for_each(|(image, out)| {
            out.par_chunks_mut(sizes.block * sizes.channels).enumerate().for_each(|(index, out)| {
                let rows = sizes.rows(image, index * sizes.block, out.len() / sizes.channels);
                let mut scores = workspace::take(rows.len() * sizes.keys);
                for head in 0..sizes.heads {
                    sizes.weights(&mut scores, image, &rows, head);
                    let weights = Matrix::row_major(&scores, rows.len(), sizes.keys, sizes.keys);
                    let out = &mut out[head * sizes.depth..];
                    multiply(out, sizes.channels, weights, sizes.value(image, head), false);
                }
            });
        });
        Ok(CpuStorage::F32(out))
    }
}

impl OnCpu<3> for AttentionGradient {
    fn compute(&self, [query, key_value, gradient]: CpuInputs<'_, 3>) -> Result<CpuStorage> {
        let sizes = Sizes::new(&self.0, query.slice()?, key_value.slice()?);
        Ok(CpuStorage::F32(sizes.gradients(gradient.slice()?)))
    }
}

/// The inputs and their sizes.
struct Sizes<'a> {
    query: &'a [f32],
    key_value: &'a [f32],
    channels: usize,
    heads: usize,
    /// Channels of a head.
    depth: usize,
    /// Queries of an image.
    queries: usize,
    /// Keys of an image.
    keys: usize,
    /// Queries of a block.
    block: usize,
}

impl<'a> Sizes<'a> {
    fn new(attention: &Attention, query: &'a [f32], key_value: &'a [f32]) -> Self {
        let Attention { images, channels, heads } = *attention;
        let queries = query.len() / images / channels;
        let keys = key_value.len() / images / (2 * channels);
        let block = (SCORES / keys).clamp(16, 512);
        Self { query, key_value, channels, heads, depth: channels / heads, queries, keys, block }
    }

    /// The queries of `image` from `first` on, as rows of all queries.
    fn rows(&self, image: usize, first: usize, count: usize) -> Range<usize> {
        let start = image * self.queries + first;
        start..start + count
    }

    fn query(&self, rows: &Range<usize>, head: usize) -> Matrix<'a> {
        let start = rows.start * self.channels + head * self.depth;
        Matrix::row_major(&self.query[start..], rows.len(), self.depth, self.channels)
    }

    fn key(&self, image: usize, head: usize) -> Matrix<'a> {
        let start = image * self.keys * 2 * self.channels + head * self.depth;
        Matrix::row_major(&self.key_value[start..], self.keys, self.depth, 2 * self.channels)
    }

    fn value(&self, image: usize, head: usize) -> Matrix<'a> {
        let start = image * self.keys * 2 * self.channels + self.channels + head * self.depth;
        Matrix::row_major(&self.key_value[start..], self.keys, self.depth, 2 * self.channels)
    }

    /// Factor of the scores.
    fn scale(&self) -> f32 {
        1.0 / (self.depth as f32).sqrt()
    }

    /// The weights of all values for the queries `rows`, (rows, keys).
    fn weights(&self, out: &mut [f32], image: usize, rows: &Range<usize>, head: usize) {
        multiply(out, self.keys, self.query(rows, head), self.key(image, head).transposed(), false);
        Arch::new().dispatch(Softmax { scores: out, keys: self.keys, scale: self.scale() });
    }

    /// The gradients of all queries, then those of all keys and values.
    fn gradients(&self, gradient: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.query.len() + self.key_value.len()];
        let (of_query, of_key_value) = out.split_at_mut(self.query.len());
        let images = of_query.par_chunks_mut(self.queries * self.channels);
        let images = images.zip(of_key_value.par_chunks_mut(self.keys * 2 * self.channels));
        images.enumerate().for_each(|(image, (of_query, of_key_value))| {
            let part = self.queries.div_ceil(PARTS);
            let parts: Vec<Vec<f32>> = of_query
                .par_chunks_mut(part * self.channels)
                .enumerate()
                .map(|(index, of_query)| self.part(image, index * part, of_query, gradient))
                .collect();
            of_key_value.par_chunks_mut(self.channels).enumerate().for_each(|(row, out)| {
                for part in &parts {
                    for (out, part) in out.iter_mut().zip(&part[row * self.channels..]) {
                        *out += part;
                    }
                }
            });
        });
        out
    }

    /// Writes the gradient of an image's queries from `first` on, and gives their share in that of
    /// the image's keys and values.
    fn part(&self, image: usize, first: usize, of_query: &mut [f32], gradient: &[f32]) -> Vec<f32> {
        let mut of_key_value = vec![0.0; self.keys * 2 * self.channels];
        let size = self.block.min(of_query.len() / self.channels) * self.keys;
        let [mut weights, mut slopes] = [workspace::take(size), workspace::take(size)];
        for (index, of_query) in of_query.chunks_mut(self.block * self.channels).enumerate() {
            let rows = self.rows(image, first + index * self.block, of_query.len() / self.channels);
            let size = rows.len() * self.keys;
            let (weights, slopes) = (&mut weights[..size], &mut slopes[..size]);
            for head in 0..self.heads {
                let offset = head * self.depth;
                let gradient = &gradient[rows.start * self.channels + offset..];
                let gradient = Matrix::row_major(gradient, rows.len(), self.depth, self.channels);
                self.weights(weights, image, &rows, head);
                multiply(slopes, self.keys, gradient, self.value(image, head).transposed(), false);
                let transposed = Matrix::row_major(weights, rows.len(), self.keys, self.keys).transposed();
                let of_value = &mut of_key_value[self.channels + offset..];
                multiply(of_value, 2 * self.channels, transposed, gradient, true);
                Arch::new().dispatch(Slopes { out: slopes, weights, keys: self.keys, scale: self.scale() });
                let slopes = Matrix::row_major(slopes, rows.len(), self.keys, self.keys);
                multiply(&mut of_query[offset..], self.channels, slopes, self.key(image, head), false);
                let (transposed, query) = (slopes.transposed(), self.query(&rows, head));
                multiply(&mut of_key_value[offset..], 2 * self.channels, transposed, query, true);
            }
        }
        of_key_value
    }
}

/// Turns products into weights: the softmax of each row times `scale`.
struct Softmax<'a> {
    scores: &'a mut [f32],
    keys: usize,
    scale: f32,
}

impl NullaryFnOnce for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        for row in self.scores.chunks_exact_mut(self.keys) {
            let most = largest(row);
            for score in &mut *row {
                *score = exp((*score - most) * self.scale);
            }
            let factor = 1.0 / sum(row, row, |weight, _| weight);
            for weight in row {
                *weight *= factor;
            }
        }
    }
}

/// Turns the gradients of the weights into those of the products.
struct Slopes<'a> {
    out: &'a mut [f32],
    weights: &'a [f32],
    keys: usize,
    scale: f32,
}

impl NullaryFnOnce for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always)]
    fn call(self) {
        let rows = self.out.chunks_exact_mut(self.keys).zip(self.weights.chunks_exact(self.keys));
        for (slopes, weights) in rows {
            let mean = sum(slopes, weights, |slope, weight| slope * weight);
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *slope = (*slope - mean) * weight * self.scale;
            }
        }
    }
}
