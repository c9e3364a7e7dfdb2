//! The product of matrices, with its arithmetic. candle's `matmul` has a switch for the whole
//! process instead.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::operation::{Backward, OnCpu, Operation};
use candle_core::{Result, Shape, Tensor};

/// `left` (..., m, k) times `right` (..., k, n), on a GPU. Both may be transposed or broadcast.
pub(crate) fn product(left: &Tensor, right: &Tensor, arithmetic: Arithmetic) -> Result<Tensor> {
    apply(Product(arithmetic), [left, right])
}

pub(crate) struct Product(pub(crate) Arithmetic);

impl Operation<2> for Product {
    const NAME: &'static str = "product";
    const STRIDED: bool = true;

    fn shape(&self, [left, right]: [&Shape; 2]) -> Shape {
        let mut dims = left.dims().to_vec();
        if let (Some(last), Some(columns)) = (dims.last_mut(), right.dims().last()) {
            *last = *columns;
        }
        Shape::from(dims)
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let ([left, right], gradient) = (backward.inputs, backward.gradient);
        let [needs_left, needs_right] = backward.needs;
        let of_left = || run(Product(self.0), [gradient, &right.t()?]);
        let of_right = || run(Product(self.0), [&left.t()?, gradient]);
        Ok([needs_left.then(of_left).transpose()?, needs_right.then(of_right).transpose()?])
    }
}

// Only GPUs need products of their own.
impl OnCpu<2> for Product {}
