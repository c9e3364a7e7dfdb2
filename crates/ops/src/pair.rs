//! Two vectors as the rows of a matrix.

use crate::adapter::apply;
use crate::operation::{Backward, Operation};
use candle_core::{Result, Shape, Tensor};

/// `first` and `second`, (C) each, as (2, C). candle's gradient of it takes eight sweeps over vectors,
/// which count on a GPU because of their launches, and hides the two from the tape.
pub(crate) fn pair(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    apply(Pair, [first, second])
}

pub(crate) struct Pair;

impl Operation<2> for Pair {
    const NAME: &'static str = "pair";

    fn shape(&self, [first, _]: [&Shape; 2]) -> Shape {
        Shape::from((2, first.elem_count()))
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let [first, second] = [0, 1].map(|row| backward.needs[row].then(|| backward.gradient.get(row)));
        Ok([first.transpose()?, second.transpose()?])
    }
}
