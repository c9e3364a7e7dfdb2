//! Products of factors rounded to bf16 by the instructions of AVX512-BF16, which multiply pairs of
//! such numbers and add to f32, at twice the rate of f32 products.
//!
//! The inner dimension is cut into blocks of [`DEPTH`]. Of each block, the right factor is packed
//! once, as panels of [`WIDTH`] columns, and the left one [`HEIGHT`] rows at a time. Pairs along the
//! inner dimension stand together in both.

use super::element::Element;
use super::matrix::{Matrix, Output};
use super::packed_kernel::{self as kernel, LANES, Left, ROWS, Tile, WIDTH};

/// Inner elements of a block: a panel of the right factor fits the first cache.
const DEPTH: usize = 256;
/// Rows of the left factor that are packed at a time: with a panel they fit the second cache.
const HEIGHT: usize = 16 * ROWS;

/// A right factor, rounded to bf16 and packed.
pub(super) struct Packed {
    /// Pairs of bf16: block after block, in each panel after panel, in each pair after pair.
    data: Vec<u32>,
    rows: usize,
    columns: usize,
}

impl Packed {
    /// None if the processor lacks the instructions.
    pub(super) fn new<T: Element>(matrix: Matrix<'_, T>) -> Option<Self> {
        let kernel = kernel::Available::detect()?;
        matrix.assert_inside();
        let Matrix { rows, columns, .. } = matrix;
        let padded = columns.next_multiple_of(LANES);
        let mut data = vec![0; rows.div_ceil(2) * padded];
        let mut rest = &mut data[..];
        for first in (0..rows).step_by(DEPTH) {
            let block = matrix.rows(&(first..rows.min(first + DEPTH)));
            for column in (0..columns).step_by(WIDTH) {
                let width = WIDTH.min(padded - column);
                let panel;
                (panel, rest) = rest.split_at_mut(block.rows.div_ceil(2) * width);
                kernel.pack(panel, width, block.columns(&(column..columns.min(column + width))));
            }
        }
        Some(Self { data, rows, columns })
    }

    /// See [`super::factor::Factor::multiply`].
    pub(super) fn multiply<T: Element>(&self, out: Output<'_>, left: Matrix<'_, T>) {
        let Output { data: out, stride: out_stride, accumulate } = out;
        let Some(kernel) = kernel::Available::detect() else { return };
        assert_eq!(left.columns, self.rows, "inner dimensions differ");
        if left.rows == 0 || self.columns == 0 {
            return;
        }
        let room = (left.rows - 1) * out_stride + self.columns;
        assert!(out_stride >= self.columns && room <= out.len(), "product does not fit");
        left.assert_inside();
        if self.rows == 0 && !accumulate {
            out.chunks_mut(out_stride).for_each(|row| row[..self.columns].fill(0.0));
        }
        let padded = self.columns.next_multiple_of(LANES);
        let mut packed = Left::default();
        for first in (0..self.rows).step_by(DEPTH) {
            let inner = first..self.rows.min(first + DEPTH);
            let pairs = inner.len().div_ceil(2);
            let block = &self.data[first / 2 * padded..][..pairs * padded];
            for top in (0..left.rows).step_by(HEIGHT) {
                let rows = top..left.rows.min(top + HEIGHT);
                kernel.pack_left(&mut packed, left.rows(&rows).columns(&inner));
                for column in (0..self.columns).step_by(WIDTH) {
                    let width = WIDTH.min(padded - column);
                    let panel = &block[pairs * column..][..pairs * width];
                    let columns = width.min(self.columns - column);
                    let accumulate = accumulate || first > 0;
                    for row in (0..rows.len()).step_by(ROWS) {
                        let out = &mut out[(top + row) * out_stride + column..];
                        let rows = row..rows.len().min(row + ROWS);
                        kernel.multiply(&packed, rows, panel, Tile { out, out_stride, columns, accumulate });
                    }
                }
            }
        }
    }
}
