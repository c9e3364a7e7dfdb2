//! The linear maps of Winograd's F(4x4, 3x3), by the construction of Cook and Toom: evaluate at
//! points, multiply, interpolate.
//!
//! The points 0, +-5/8, +-3/2 and infinity keep the error of a convolution in f32 at about six
//! times that of direct sums, half the error of the textbook's 0, +-1, +-2. They are exact in
//! binary.

// Code for the processor's vectors has to be inlined into the function that enables them.
#![allow(clippy::inline_always)]

use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Outputs along each side of a tile.
pub(super) const TILE: usize = 4;
/// Inputs along each side of a tile, and evaluations.
pub(super) const SIDE: usize = 6;

/// A linear map of `I` values to `O` values.
pub(super) trait Linear<const I: usize, const O: usize> {
    fn apply<S: Simd>(simd: S, x: [S::f32s; I]) -> [S::f32s; O];
}

/// Squares of the two interpolation points a and b.
const A: f32 = 0.625;
const B: f32 = 1.5;
const AA: f32 = A * A;
const BB: f32 = B * B;

#[inline(always)]
fn scale<S: Simd>(simd: S, factor: f32, x: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(factor), x)
}

/// `factor * x + y`.
#[inline(always)]
fn multiply_add<S: Simd>(simd: S, factor: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.mul_add_f32s(simd.splat_f32s(factor), x, y)
}

/// Evaluates inputs.
pub(super) struct Evaluate;

impl Linear<SIDE, SIDE> for Evaluate {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: [S::f32s; SIDE]) -> [S::f32s; SIDE] {
        let fma = |factor, x, y| multiply_add(simd, factor, x, y);
        let scale = |factor, x| scale(simd, factor, x);
        let even = [fma(-BB, x[2], x[4]), fma(-AA, x[2], x[4])];
        let odd = [scale(A, fma(-BB, x[1], x[3])), scale(B, fma(-AA, x[1], x[3]))];
        [
            fma(AA * BB, x[0], fma(-(AA + BB), x[2], x[4])),
            simd.add_f32s(even[0], odd[0]),
            simd.sub_f32s(even[0], odd[0]),
            simd.add_f32s(even[1], odd[1]),
            simd.sub_f32s(even[1], odd[1]),
            fma(AA * BB, x[1], fma(-(AA + BB), x[3], x[5])),
        ]
    }
}

/// Interpolates outputs.
pub(super) struct Interpolate;

impl Linear<SIDE, TILE> for Interpolate {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: [S::f32s; SIDE]) -> [S::f32s; TILE] {
        let fma = |factor, x, y| multiply_add(simd, factor, x, y);
        let scale = |factor, x| scale(simd, factor, x);
        let sums = [simd.add_f32s(x[1], x[2]), simd.add_f32s(x[3], x[4])];
        let differences = [simd.sub_f32s(x[1], x[2]), simd.sub_f32s(x[3], x[4])];
        [
            simd.add_f32s(x[0], simd.add_f32s(sums[0], sums[1])),
            fma(A, differences[0], scale(B, differences[1])),
            fma(AA, sums[0], scale(BB, sums[1])),
            fma(A * AA, differences[0], fma(B * BB, differences[1], x[5])),
        ]
    }
}

/// The transpose of [`Interpolate`], for gradients of outputs.
pub(super) struct InterpolateTransposed;

impl Linear<TILE, SIDE> for InterpolateTransposed {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: [S::f32s; TILE]) -> [S::f32s; SIDE] {
        let fma = |factor, x, y| multiply_add(simd, factor, x, y);
        let scale = |factor, x| scale(simd, factor, x);
        let even = [fma(AA, x[2], x[0]), fma(BB, x[2], x[0])];
        let odd = [fma(A * AA, x[3], scale(A, x[1])), fma(B * BB, x[3], scale(B, x[1]))];
        [
            x[0],
            simd.add_f32s(even[0], odd[0]),
            simd.sub_f32s(even[0], odd[0]),
            simd.add_f32s(even[1], odd[1]),
            simd.sub_f32s(even[1], odd[1]),
            x[3],
        ]
    }
}

/// One over the products of each point's distances to the others.
const AT_ZERO: f32 = 1.0 / (AA * BB);
const AT_A: f32 = 1.0 / (2.0 * AA * (AA - BB));
const AT_B: f32 = 1.0 / (2.0 * BB * (BB - AA));

/// Evaluates kernels.
pub(super) struct EvaluateKernel;

impl Linear<3, SIDE> for EvaluateKernel {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: [S::f32s; 3]) -> [S::f32s; SIDE] {
        let fma = |factor, x, y| multiply_add(simd, factor, x, y);
        let scale = |factor, x| scale(simd, factor, x);
        let even = [scale(AT_A, fma(AA, x[2], x[0])), scale(AT_B, fma(BB, x[2], x[0]))];
        let odd = [scale(A * AT_A, x[1]), scale(B * AT_B, x[1])];
        [
            scale(AT_ZERO, x[0]),
            simd.add_f32s(even[0], odd[0]),
            simd.sub_f32s(even[0], odd[0]),
            simd.add_f32s(even[1], odd[1]),
            simd.sub_f32s(even[1], odd[1]),
            x[2],
        ]
    }
}

/// The transpose of [`EvaluateKernel`], for gradients of kernels.
pub(super) struct EvaluateKernelTransposed;

impl Linear<SIDE, 3> for EvaluateKernelTransposed {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, x: [S::f32s; SIDE]) -> [S::f32s; 3] {
        let fma = |factor, x, y| multiply_add(simd, factor, x, y);
        let scale = |factor, x| scale(simd, factor, x);
        let sums = [scale(AT_A, simd.add_f32s(x[1], x[2])), scale(AT_B, simd.add_f32s(x[3], x[4]))];
        let differences = [simd.sub_f32s(x[1], x[2]), simd.sub_f32s(x[3], x[4])];
        [
            fma(AT_ZERO, x[0], simd.add_f32s(sums[0], sums[1])),
            fma(A * AT_A, differences[0], scale(B * AT_B, differences[1])),
            fma(AA, sums[0], fma(BB, sums[1], x[5])),
        ]
    }
}

/// Applies a linear map to the rows and columns of a square of `I` x `I` pixels, giving `O` x `O`,
/// for each of `channels` channels. `from` and `to` are the offsets of the pixels. A source pixel
/// without an offset is zero, and a target pixel without one is not written.
pub(super) struct Transform<'a, L, const I: usize, const O: usize> {
    pub(super) source: &'a [f32],
    pub(super) from: [[Option<usize>; I]; I],
    pub(super) target: &'a mut [f32],
    pub(super) to: [[Option<usize>; O]; O],
    pub(super) channels: usize,
    pub(super) linear: PhantomData<L>,
}

impl<L: Linear<I, O>, const I: usize, const O: usize> WithSimd for Transform<'_, L, I, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        let mut sources = [[&[][..]; I]; I];
        for (pixels, offsets) in sources.iter_mut().flatten().zip(self.from.iter().flatten()) {
            if let Some(offset) = *offsets {
                *pixels = S::as_simd_f32s(&self.source[offset..offset + self.channels]).0;
            }
        }
        let (target, _) = S::as_mut_simd_f32s(self.target);
        // Loops rather than array's `map` and `from_fn`, which are not inlined and would lose the
        // wide vectors.
        for index in 0..self.channels / S::F32_LANES {
            let mut half = [[zero; I]; O];
            for j in 0..I {
                let mut column = [zero; I];
                for i in 0..I {
                    if let Some(value) = sources[i][j].get(index) {
                        column[i] = *value;
                    }
                }
                let column = L::apply(simd, column);
                for i in 0..O {
                    half[i][j] = column[i];
                }
            }
            for (half, offsets) in half.iter().zip(&self.to) {
                let row = L::apply(simd, *half);
                for (value, offset) in row.iter().zip(offsets) {
                    if let Some(offset) = offset {
                        target[offset / S::F32_LANES + index] = *value;
                    }
                }
            }
        }
    }
}
