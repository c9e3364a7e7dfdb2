//! Bilinear interpolation along one axis. Inlined, so that callers compile it for their vectors.

use super::element::Element;

/// `out = (1 - weight) * first + weight * second`.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn mix<T: Element>(out: &mut [f32], first: &[T], second: &[T], weight: f32) {
    for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
        let (first, second) = (first.wide(), second.wide());
        *out = first + weight * (second - first);
    }
}

/// `sum += (1 - weight) * first + weight * second`.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn add_mix(sum: &mut [f32], first: &[f32], second: &[f32], weight: f32) {
    for ((sum, first), second) in sum.iter_mut().zip(first).zip(second) {
        *sum += first + weight * (second - first);
    }
}

/// `sum += weight * values`.
#[inline(always)]
#[allow(clippy::inline_always)]
pub(super) fn add_scaled<T: Element>(sum: &mut [f32], values: &[T], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += weight * value.wide();
    }
}
