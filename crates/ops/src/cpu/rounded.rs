//! Products of factors rounded to bf16, on any processor.

use super::element::Element;
use super::matrix::{Matrix, Output, multiply};

/// A right factor, rounded to bf16: contiguous rows of f32 whose lower half is zero.
pub(super) struct Rounded {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Rounded {
    pub(super) fn new<T: Element>(matrix: Matrix<'_, T>) -> Self {
        let Matrix { data, rows, columns, row_stride, column_stride } = matrix;
        let row =
            |row: usize| (0..columns).map(move |column| data[row * row_stride + column * column_stride]);
        Self { data: (0..rows).flat_map(row).map(|value| round(value.wide())).collect(), rows, columns }
    }

    /// See [`super::factor::Factor::multiply`].
    pub(super) fn multiply<T: Element>(&self, out: Output<'_>, left: Matrix<'_, T>) {
        let left = Self::new(left);
        let Output { data, stride, accumulate } = out;
        multiply(data, stride, left.matrix(), self.matrix(), accumulate);
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::row_major(&self.data, self.rows, self.columns, self.columns)
    }
}

/// The nearest number of bf16, of two the even one. Subnormal numbers become zero, as in the
/// processors that convert by themselves.
pub(super) fn round(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { half::bf16::from_f32(value).to_f32() }
}
