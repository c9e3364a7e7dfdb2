//! Two vectors as the rows of a matrix.

#[cfg(feature = "cuda")]
use crate::adapter::apply;
#[cfg(feature = "cuda")]
use crate::operation::{Backward, OnCpu, Operation};
#[cfg(feature = "cuda")]
use candle_core::Shape;
use candle_core::{Result, Tensor};

/// `first` and `second`, (C) each, as (2, C). candle's gradient of it takes eight sweeps over vectors,
/// which count on a GPU because of their launches.
pub(crate) fn pair(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if first.device().is_cuda() {
        return apply(Pair, [first, second]);
    }
    Tensor::stack(&[first, second], 0)
}

#[cfg(feature = "cuda")]
pub(crate) struct Pair;

#[cfg(feature = "cuda")]
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

// candle stacks on the CPU.
#[cfg(feature = "cuda")]
impl OnCpu<2> for Pair {}
