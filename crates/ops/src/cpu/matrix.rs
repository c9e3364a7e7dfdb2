//! Matrix products on strided slices, on one thread, by the `gemm` crate (which picks AVX2, AVX-512
//! or NEON at run time).

/// A read-only matrix over a slice: element (row, column) is at
/// `row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T = f32> {
    pub(super) data: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix of consecutive rows, `row_stride` elements apart.
    pub(super) fn row_major(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// The rows in `range`.
    pub(super) fn rows(self, range: &std::ops::Range<usize>) -> Self {
        Self { data: &self.data[range.start * self.row_stride..], rows: range.len(), ..self }
    }

    /// The columns in `range`.
    pub(super) fn columns(self, range: &std::ops::Range<usize>) -> Self {
        Self { data: &self.data[range.start * self.column_stride..], columns: range.len(), ..self }
    }

    /// The same matrix over `data`, which has its elements in another type.
    pub(super) fn with<U>(self, data: &'a [U]) -> Matrix<'a, U> {
        let Self { rows, columns, row_stride, column_stride, .. } = self;
        Matrix { data, rows, columns, row_stride, column_stride }
    }

    pub(super) fn assert_inside(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "matrix reaches beyond its slice");
        }
    }
}

/// Where a product is written to: row major, with rows `stride` apart.
pub(super) struct Output<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) stride: usize,
    /// Whether the product is added to what is there.
    pub(super) accumulate: bool,
}

/// `out = left x right`, or with `accumulate` `out += left x right`. `out` is row major with rows
/// `out_stride` apart.
///
/// # Panics
/// If the matrices do not fit each other or their slices.
#[allow(unsafe_code)]
pub(super) fn multiply(
    out: &mut [f32],
    out_stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    accumulate: bool,
) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert_eq!(k, right.rows, "inner dimensions differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(out_stride >= n && (m - 1) * out_stride + n <= out.len(), "product does not fit");
    left.assert_inside();
    right.assert_inside();
    // SAFETY: the three matrices lie inside their slices, as was just checked, `out` is borrowed
    // mutably and so overlaps neither operand, and rows of `out` do not overlap each other
    // (out_stride >= n).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
