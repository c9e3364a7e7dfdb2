//! The products of a convolution, as keys of plans.

use crate::arithmetic::Arithmetic;
use crate::geometry::Geometry;

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Product {
    Output,
    InputGradient,
    WeightGradient,
}

/// Everything that decides about the algorithm of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) product: Product,
    pub(super) geometry: Geometry,
    pub(super) elements: &'static str,
    pub(super) arithmetic: Arithmetic,
}

impl Product {
    /// Elements of the product.
    pub(super) fn size(self, g: &Geometry) -> usize {
        match self {
            Self::Output => g.batch * g.output.iter().product::<usize>(),
            Self::InputGradient => g.batch * g.input.iter().product::<usize>(),
            Self::WeightGradient => g.output[2] * g.kernel.iter().product::<usize>() * g.input[2],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::InputGradient => "input_gradient",
            Self::WeightGradient => "weight_gradient",
        }
    }
}
