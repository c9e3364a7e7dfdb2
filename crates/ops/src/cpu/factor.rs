//! The right factor of matrix products, prepared once for all left factors.

use super::element::{Element, Numbers};
use super::matrix::{Matrix, Output, multiply};
#[cfg(target_arch = "x86_64")]
use super::packed::Packed;
use super::rounded::Rounded;

/// A right factor, exact or rounded to bf16.
pub(super) enum Factor<'a> {
    /// Of f32 matrices.
    Exact(Matrix<'a>),
    /// Rounded to bf16, on a processor that multiplies such numbers.
    #[cfg(target_arch = "x86_64")]
    Packed(Packed),
    /// Rounded to bf16, on any other processor.
    Rounded(Rounded),
}

impl Factor<'_> {
    /// `matrix`, rounded if it is f32.
    pub(super) fn rounded<T: Element>(matrix: Matrix<'_, T>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(packed) = Packed::new(matrix) {
            return Self::Packed(packed);
        }
        Self::Rounded(Rounded::new(matrix))
    }

    /// `out = left x self`, or `out += left x self`. Left factors are rounded as this one. Sums are f32.
    ///
    /// # Panics
    /// If the matrices do not fit each other or their slices.
    pub(super) fn multiply<T: Element>(&self, out: Output<'_>, left: Matrix<'_, T>) {
        match self {
            Self::Exact(right) => match T::numbers(left.data) {
                Numbers::F32(data) => multiply(out.data, out.stride, left.with(data), *right, out.accumulate),
                Numbers::Bf16(_) => Rounded::new(*right).multiply(out, left),
            },
            #[cfg(target_arch = "x86_64")]
            Self::Packed(right) => right.multiply(out, left),
            Self::Rounded(right) => right.multiply(out, left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
    }

    /// `data` as a matrix whose rows or columns are contiguous, or neither.
    fn matrix(data: &[f32], rows: usize, columns: usize, form: usize) -> Matrix<'_> {
        match form {
            0 => Matrix::row_major(data, rows, columns, columns + 3),
            1 => Matrix::row_major(data, columns, rows, rows + 1).transposed(),
            _ => Matrix { data, rows, columns, row_stride: 2 * columns + 1, column_stride: 2 },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn products_of_rounded_factors_are_those_of_the_rounded_numbers(
            [rows, inner, columns] in [1_usize..110, 1_usize..530, 1_usize..90],
            [left_form, right_form] in [0_usize..3, 0_usize..3],
            accumulate: bool,
            seed: u64,
        ) {
            let room = |rows: usize, columns: usize| 2 * (rows + 3) * (columns + 3);
            let (left, right) = (values(room(rows, inner), seed), values(room(inner, columns), !seed));
            let (left, right) =
                (matrix(&left, rows, inner, left_form), matrix(&right, inner, columns, right_form));
            let stride = columns + 2;
            let before = values(rows * stride, 3);
            let (mut found, mut portable) = (before.clone(), before.clone());
            Factor::rounded(right).multiply(Output { data: &mut found, stride, accumulate }, left);
            Rounded::new(right).multiply(Output { data: &mut portable, stride, accumulate }, left);
            let at = |m: Matrix<'_>, row: usize, column: usize| {
                f64::from(half::bf16::from_f32(m.data[row * m.row_stride + column * m.column_stride]).to_f32())
            };
            for row in 0..rows {
                for column in 0..stride {
                    let place = row * stride + column;
                    if column >= columns {
                        prop_assert_eq!([found[place], portable[place]], [before[place]; 2]);
                        continue;
                    }
                    let terms = (0..inner).map(|k| at(left, row, k) * at(right, k, column));
                    let start = if accumulate { f64::from(before[place]) } else { 0.0 };
                    let exact = terms.clone().fold(start, |sum, term| sum + term);
                    let size = terms.fold(start.abs(), |sum, term| sum + term.abs());
                    for found in [found[place], portable[place]] {
                        let error = (f64::from(found) - exact).abs();
                        prop_assert!(error <= 1e-6 * size + 1e-7, "{found} instead of {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_that_is_not_finite_stays_so() {
        for value in [f32::NAN, f32::INFINITY, f32::from_bits(0x7fff_ffff)] {
            let left = [1.0, value, 0.5];
            let mut out = [0.0; 2];
            let right = Matrix::row_major(&[1.0; 6], 3, 2, 2);
            let left = Matrix::row_major(&left, 1, 3, 3);
            Factor::rounded(right).multiply(Output { data: &mut out, stride: 2, accumulate: false }, left);
            assert!(out.iter().all(|value| !value.is_finite()), "{out:?}");
        }
    }
}
