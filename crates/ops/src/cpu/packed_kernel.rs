//! The innermost loops of products of bf16, for processors with AVX512-BF16.

use super::element::{Element, Numbers};
use super::matrix::Matrix;
use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_castsi512_si256, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
    _mm512_inserti64x4, _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_epi16,
    _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_si512,
};
use std::ops::Range;

/// f32 elements, or pairs of bf16, of a vector.
pub(super) const LANES: usize = 16;
/// Columns of a panel: with [`ROWS`] rows they fill 24 of the 32 registers.
pub(super) const WIDTH: usize = 4 * LANES;
/// Rows that are multiplied at a time.
pub(super) const ROWS: usize = 6;

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(super) struct Available(());

/// Some rows of the left factor, packed.
#[derive(Default)]
pub(super) struct Left {
    data: Vec<u32>,
    pairs: usize,
    /// From one row to the next.
    row_step: usize,
    /// From one pair of inner elements to the next.
    pair_step: usize,
}

/// Where a product is written to: up to [`ROWS`] rows of `columns` elements, `out_stride` apart.
pub(super) struct Tile<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
    pub(super) columns: usize,
    pub(super) accumulate: bool,
}

#[allow(unsafe_code)]
#[expect(clippy::unused_self, reason = "its existence proves that the instructions do")]
impl Available {
    pub(super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512f");
        all.then_some(Self(()))
    }

    /// Packs one block of a right factor: for each pair of rows `width` pairs, one for each column and
    /// zeros.
    pub(super) fn pack<T: Element>(self, panel: &mut [u32], width: usize, block: Matrix<'_, T>) {
        assert!(width.is_multiple_of(LANES) && block.columns <= width, "panel of the wrong width");
        assert_eq!(panel.len(), block.rows.div_ceil(2) * width, "panel of the wrong size");
        block.assert_inside();
        // SAFETY: `self` proves that the processor has the instructions.
        unsafe { pack(panel, width, block) }
    }

    /// Packs some rows of a left factor.
    pub(super) fn pack_left<T: Element>(self, packed: &mut Left, rows: Matrix<'_, T>) {
        rows.assert_inside();
        packed.pairs = rows.columns.div_ceil(2);
        if rows.row_stride == 1 && rows.column_stride != 1 {
            let width = rows.rows.next_multiple_of(LANES);
            (packed.row_step, packed.pair_step) = (1, width);
            packed.data.resize(packed.pairs * width, 0);
            // SAFETY: `self` proves that the processor has the instructions.
            unsafe { pack(&mut packed.data, width, rows.transposed()) };
        } else {
            // Rows are a cache line apart from a power of two, so that they do not share sets.
            packed.row_step = packed.pairs.next_multiple_of(2 * LANES) + LANES;
            packed.pair_step = 1;
            packed.data.resize(rows.rows * packed.row_step, 0);
            for (row, out) in packed.data.chunks_exact_mut(packed.row_step).enumerate() {
                // SAFETY: as above.
                unsafe { pack_row(out, rows, row) };
            }
        }
    }

    /// Multiplies `rows` of a left factor, at most [`ROWS`], with a panel.
    pub(super) fn multiply(self, left: &Left, rows: Range<usize>, panel: &[u32], mut tile: Tile<'_>) {
        let vectors = if left.pairs == 0 { 0 } else { panel.len() / (left.pairs * LANES) };
        let last = (rows.end - 1) * left.row_step + left.pairs.saturating_sub(1) * left.pair_step;
        assert!(left.pairs > 0 && last < left.data.len(), "rows outside the left factor");
        assert_eq!(panel.len(), left.pairs * vectors * LANES, "panel of the wrong size");
        let full = vectors * LANES;
        assert!(tile.columns <= full && tile.columns > full - LANES, "panel of the wrong width");
        let room = (rows.len() - 1) * tile.out_stride + tile.columns;
        assert!(room <= tile.out.len() && tile.columns <= tile.out_stride, "product does not fit");
        macro_rules! choose {
            ($($rows:literal)*) => {
                match (rows.len(), vectors) {
                    $(
                        ($rows, 1) => kernel::<$rows, 1>,
                        ($rows, 2) => kernel::<$rows, 2>,
                        ($rows, 3) => kernel::<$rows, 3>,
                        ($rows, 4) => kernel::<$rows, 4>,
                    )*
                    (rows, vectors) => unreachable!("{rows} rows and {vectors} vectors"),
                }
            };
        }
        let multiply: unsafe fn(&Left, usize, &[u32], &mut Tile<'_>) = choose!(1 2 3 4 5 6);
        // SAFETY: `self` proves that the processor has the instructions. The rows, the panel and the
        // tile lie inside their slices, as was just checked.
        unsafe { multiply(left, rows.start, panel, &mut tile) };
    }
}

/// The mask of the first `count` lanes.
fn first_lanes(count: usize) -> u16 {
    if count >= LANES { u16::MAX } else { (1 << count) - 1 }
}

/// Up to [`LANES`] elements of `values`, then zeros.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32]) -> std::arch::x86_64::__m512 {
    // SAFETY: lanes beyond the slice are masked.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

/// Up to twice [`LANES`] numbers of bf16, then zeros.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_bf16(values: &[u16]) -> __m512i {
    let mask = if values.len() >= 2 * LANES { u32::MAX } else { (1 << values.len()) - 1 };
    // SAFETY: lanes beyond the slice are masked.
    unsafe { _mm512_maskz_loadu_epi16(mask, values.as_ptr().cast()) }
}

/// `low` and `high`, up to [`LANES`] elements of each, as bf16 one after the other.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rounded<T: Element>(low: &[T], high: &[T]) -> __m512i {
    match (T::numbers(low), T::numbers(high)) {
        (Numbers::F32(low), Numbers::F32(high)) => {
            // SAFETY: both types are 512 bits of any value.
            unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(load(high), load(low))) }
        }
        (Numbers::Bf16(low), Numbers::Bf16(high)) => {
            _mm512_inserti64x4::<1>(load_bf16(low), _mm512_castsi512_si256(load_bf16(high)))
        }
        _ => unreachable!("both have the same type"),
    }
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
fn store(out: &mut [u32], value: __m512i) {
    let out: &mut [u32; LANES] = (&mut out[..LANES]).try_into().expect("a vector's pairs");
    // SAFETY: the array has the vector's size.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), value) };
}

/// See [`Available::pack`].
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack<T: Element>(panel: &mut [u32], width: usize, block: Matrix<'_, T>) {
    if block.column_stride == 1 {
        let turns: [u16; 2 * LANES] = std::array::from_fn(|at| (at / 2 + at % 2 * LANES) as u16);
        // SAFETY: the array has the vector's size.
        let turns = unsafe { _mm512_loadu_si512(turns.as_ptr().cast()) };
        for (pair, out) in panel.chunks_exact_mut(width).enumerate() {
            let row = |row: usize| {
                if row < block.rows { &block.data[row * block.row_stride..][..block.columns] } else { &[] }
            };
            let (low, high) = (row(2 * pair), row(2 * pair + 1));
            for (vector, out) in out.chunks_exact_mut(LANES).enumerate() {
                let part = |row: &[T]| -> Range<usize> {
                    let start = row.len().min(vector * LANES);
                    start..row.len().min(start + LANES)
                };
                let both = rounded(&low[part(low)], &high[part(high)]);
                store(out, _mm512_permutexvar_epi16(turns, both));
            }
        }
        return;
    }
    // Inner elements are contiguous, or nothing is: rows of the transposed block, turned.
    let turned = block.transposed();
    let mut rows = [[0_u32; LANES]; LANES];
    for column in (0..width).step_by(LANES) {
        for first in (0..block.rows).step_by(2 * LANES) {
            for (index, out) in rows.iter_mut().enumerate() {
                out.fill(0);
                if column + index < block.columns {
                    let inner = first..block.rows.min(first + 2 * LANES);
                    pack_row(out, turned.columns(&inner), column + index);
                }
            }
            let pairs = (block.rows - first).div_ceil(2).min(LANES);
            for pair in 0..pairs {
                let out = &mut panel[(first / 2 + pair) * width + column..][..LANES];
                out.iter_mut().zip(&rows).for_each(|(out, row)| *out = row[pair]);
            }
        }
    }
}

/// Packs row `row` of a matrix: its pairs, then zeros up to a vector's end.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_row<T: Element>(out: &mut [u32], matrix: Matrix<'_, T>, row: usize) {
    let from = &matrix.data[row * matrix.row_stride..];
    for (first, out) in (0..matrix.columns).step_by(2 * LANES).zip(out.chunks_exact_mut(LANES)) {
        let count = (matrix.columns - first).min(2 * LANES);
        if matrix.column_stride == 1 {
            let values = &from[first..][..count];
            if let Numbers::Bf16(values) = T::numbers(values) {
                store(out, load_bf16(values));
            } else {
                let (low, high) = values.split_at(count.min(LANES));
                store(out, rounded(low, high));
            }
        } else {
            let mut values = [T::default(); 2 * LANES];
            for (at, value) in values[..count].iter_mut().enumerate() {
                *value = from[(first + at) * matrix.column_stride];
            }
            store(out, rounded(&values[..LANES], &values[LANES..]));
        }
    }
}

/// Multiplies `R` rows of `left` from `row` on with a panel of `V` vectors.
///
/// # Safety
/// The rows lie inside `left`, the panel has `left.pairs` pairs of `V` vectors, and the tile has
/// room.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn kernel<const R: usize, const V: usize>(
    left: &Left,
    row: usize,
    panel: &[u32],
    tile: &mut Tile<'_>,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: by the caller's promise, all reads lie inside their slices.
    unsafe {
        let mut from = left.data.as_ptr().add(row * left.row_step);
        let mut right = panel.as_ptr();
        for _ in 0..left.pairs {
            let vectors: [__m512bh; V] =
                std::array::from_fn(|v| std::mem::transmute(_mm512_loadu_si512(right.add(v * LANES).cast())));
            for (index, sums) in sums.iter_mut().enumerate() {
                let pair = _mm512_set1_epi32((*from.wrapping_add(index * left.row_step)).cast_signed());
                let pair: __m512bh = std::mem::transmute(pair);
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = _mm512_dpbf16_ps(*sum, pair, vector);
                }
            }
            from = from.wrapping_add(left.pair_step);
            right = right.wrapping_add(V * LANES);
        }
        let out = tile.out.as_mut_ptr();
        for (index, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let mask = first_lanes(tile.columns - v * LANES);
                // SAFETY: lanes beyond the tile's columns are masked.
                let out = out.add(index * tile.out_stride + v * LANES);
                let before = || _mm512_maskz_loadu_ps(mask, out);
                _mm512_mask_storeu_ps(
                    out,
                    mask,
                    if tile.accumulate { _mm512_add_ps(sum, before()) } else { sum },
                );
            }
        }
    }
}
