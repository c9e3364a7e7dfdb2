//! Elements of activations on the CPU: f32, or bf16, which is computed with in f32.

// Code for the processor's vectors has to be inlined into the function that enables them.
#![allow(clippy::inline_always)]

use super::factor::Factor;
use super::matrix::Matrix;
use super::sweep::BLOCK;
use crate::in_place::{Update, UpdateOnCpu};
use crate::operation::{CpuInputs, OnCpu, Operation};
use bytemuck::Pod;
use candle_core::{CpuStorage, Result, WithDType};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// An element of an activation.
pub(super) trait Element: WithDType + Pod + Default {
    /// The nearest element, of two the even one.
    fn rounded(value: f32) -> Self;

    /// This number.
    fn wide(self) -> f32;

    /// The elements of `values` by their type.
    fn numbers(values: &[Self]) -> Numbers<'_>;

    /// The right factor of products with matrices of this type.
    fn factor(weights: Matrix<'_>) -> Factor<'_>;

    /// The right factor of products of two matrices of this type.
    fn own_factor(matrix: Matrix<'_, Self>) -> Factor<'_>;

    /// `values`, if they are f32.
    fn f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// Lets `write` write f32 to `out`, by way of `buffer` where `out` has another type.
    fn in_f32(out: &mut [Self], buffer: &mut Vec<f32>, write: impl FnOnce(&mut [f32])) {
        if let Some(out) = Self::f32_mut(out) {
            write(out);
        } else {
            buffer.resize(out.len(), 0.0);
            write(buffer);
            round(out, buffer);
        }
    }
}

/// The CPU side of an operation that reads and writes activations of either type.
pub(super) trait ByElement<const N: usize>: Operation<N> {
    /// The elements of the output, contiguous. `T` is bf16 if an input is, otherwise f32.
    fn compute<T: Element>(&self, inputs: CpuInputs<'_, N>) -> Result<CpuStorage>;
}

impl<const N: usize, O: ByElement<N>> OnCpu<N> for O {
    fn compute(&self, inputs: CpuInputs<'_, N>) -> Result<CpuStorage> {
        ByElement::compute::<f32>(self, inputs)
    }

    fn compute_bf16(&self, inputs: CpuInputs<'_, N>) -> Result<CpuStorage> {
        ByElement::compute::<bf16>(self, inputs)
    }
}

/// The CPU side of an update of activations of either type.
pub(super) trait UpdateByElement<const N: usize>: Update<N> {
    /// Overwrites the elements of `target`.
    fn update<T: Element>(&self, target: &mut [T], inputs: CpuInputs<'_, N>) -> Result<()>;
}

impl<const N: usize, U: UpdateByElement<N>> UpdateOnCpu<N> for U {
    fn update(&self, target: &mut [f32], inputs: CpuInputs<'_, N>) -> Result<()> {
        UpdateByElement::update(self, target, inputs)
    }

    fn update_bf16(&self, target: &mut [bf16], inputs: CpuInputs<'_, N>) -> Result<()> {
        UpdateByElement::update(self, target, inputs)
    }
}

/// Elements by their type.
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    /// The bits of bf16.
    Bf16(&'a [u16]),
}

impl Element for f32 {
    #[inline(always)]
    fn rounded(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn numbers(values: &[Self]) -> Numbers<'_> {
        Numbers::F32(values)
    }

    fn factor(weights: Matrix<'_>) -> Factor<'_> {
        Factor::Exact(weights)
    }

    fn own_factor(matrix: Matrix<'_, Self>) -> Factor<'_> {
        Factor::Exact(matrix)
    }

    fn f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn rounded(value: f32) -> Self {
        // Without a branch, so that loops are compiled for vectors.
        let bits = value.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let not_a_number = bits >> 16 | 0x40;
        let is_number = bits & 0x7fff_ffff <= 0x7f80_0000;
        Self::from_bits(if is_number { nearest } else { not_a_number } as u16)
    }

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn numbers(values: &[Self]) -> Numbers<'_> {
        Numbers::Bf16(values.reinterpret_cast())
    }

    fn factor(weights: Matrix<'_>) -> Factor<'_> {
        Factor::rounded(weights)
    }

    fn own_factor(matrix: Matrix<'_, Self>) -> Factor<'_> {
        Factor::rounded(matrix)
    }

    fn f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// A copy of `storage` in f32, if it is bf16.
pub(crate) fn widened(storage: &CpuStorage) -> Option<CpuStorage> {
    let CpuStorage::BF16(values) = storage else { return None };
    let mut copy = vec![0.0; values.len()];
    copy.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(copy, values)| widen(copy, values));
    Some(CpuStorage::F32(copy))
}

/// `storage` in bf16, if it is f32.
pub(crate) fn rounded(storage: CpuStorage) -> CpuStorage {
    let CpuStorage::F32(values) = storage else { return storage };
    let mut copy = vec![bf16::ZERO; values.len()];
    copy.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(copy, values)| round(copy, values));
    CpuStorage::BF16(copy)
}

/// Writes `values`, rounded, to `out`.
pub(super) fn round<T: Element>(out: &mut [T], values: &[f32]) {
    super::vectors::wide(|| {
        for (out, value) in out.iter_mut().zip(values) {
            *out = T::rounded(*value);
        }
    });
}

/// Writes `values` as f32 to `out`.
pub(super) fn widen<T: Element>(out: &mut [f32], values: &[T]) {
    super::vectors::wide(|| {
        for (out, value) in out.iter_mut().zip(values) {
            *out = value.wide();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_that_of_the_half_crate(bits: u32) {
            let value = f32::from_bits(bits);
            let (found, expected) = (<bf16 as Element>::rounded(value), bf16::from_f32(value));
            prop_assert!(found == expected || found.is_nan() && expected.is_nan(), "{value}: {found}");
            prop_assert!(value.is_nan() || found.wide().to_bits() == expected.to_f32().to_bits());
        }
    }
}
