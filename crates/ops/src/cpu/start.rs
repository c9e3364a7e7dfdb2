//! The values to which a convolution adds its products.

use super::element::{Element, widen};

/// The values of an output before the first product.
#[derive(Clone, Copy)]
pub(super) enum Start<'a, T> {
    /// Nothing.
    Zero,
    /// One value for each channel.
    Bias(&'a [f32]),
    /// A map of the output's shape.
    Residual(&'a [T]),
}

impl<T: Element> Start<'_, T> {
    /// Writes the start of the output's block `out`, which begins at element `first`. Returns
    /// whether products are to be added to it.
    pub(super) fn write(self, out: &mut [f32], first: usize) -> bool {
        match self {
            Self::Zero => return false,
            Self::Bias(bias) => out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias)),
            Self::Residual(residual) => widen(out, &residual[first..][..out.len()]),
        }
        true
    }
}
