//! Transposition of weights.

use super::workspace::{self, Workspace};
use rayon::prelude::*;

/// Columns that are transposed at a time. The rows of a square of this size are whole cache lines and
/// are read and written as such. Columns of a power of two share a few of the cache's sets, where
/// single elements would push each other out.
const TILE: usize = 16;

/// `weights` (rows, columns) as (columns, rows). A product reads its second factor along its rows, and
/// packing it from columns, block after block, would cost more than turning it once.
pub(super) fn transposed(weights: &[f32], rows: usize) -> Workspace {
    let columns = weights.len() / rows;
    let mut out = workspace::take(weights.len());
    out.par_chunks_mut(TILE * rows).enumerate().for_each(|(index, out)| {
        transpose(&weights[index * TILE..], columns, rows, out);
    });
    out
}

/// Writes the first columns of `matrix`, which has `rows` rows `stride` elements apart, to the rows of
/// `out`, at most [`TILE`].
pub(super) fn transpose(matrix: &[f32], stride: usize, rows: usize, out: &mut [f32]) {
    let columns = out.len() / rows;
    let mut tile = [[0.0; TILE]; TILE];
    for start in (0..rows).step_by(TILE) {
        let count = TILE.min(rows - start);
        for row in 0..count {
            let values = &matrix[(start + row) * stride..][..columns];
            for (tile, value) in tile.iter_mut().zip(values) {
                tile[row] = *value;
            }
        }
        for (out, tile) in out.chunks_exact_mut(rows).zip(&tile) {
            out[start..start + count].copy_from_slice(&tile[..count]);
        }
    }
}
