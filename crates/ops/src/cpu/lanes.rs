//! Reductions of a row in a fixed order that fits vectors of any width.

use super::element::Element;

/// Partial results of a row.
pub(super) const LANES: usize = 16;

/// The sum of `term` over the pairs of `left` and `right`.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn sum<L: Element, R: Element>(left: &[L], right: &[R], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += term(left[lane].wide(), right[lane].wide());
        }
    }
    for ((sum, left), right) in sums.iter_mut().zip(left_rest).zip(right_rest) {
        *sum += term(left.wide(), right.wide());
    }
    folded(sums, |a, b| a + b)
}

/// The largest of `values`. Values that are not a number do not count.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    let most = folded(most, |a, b| if a > b { a } else { b });
    rest.iter().fold(most, |most, value| most.max(*value))
}

/// All lanes in one, halves onto halves.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn folded(mut lanes: [f32; LANES], both: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = both(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}
