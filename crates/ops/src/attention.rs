//! Attention between the pixels of a map and those of another (Vaswani et al. 2017), which may be
//! smaller (spatial reduction, Wang et al. 2021).

use crate::adapter::{apply, run};
use crate::error;
use crate::operation::{Backward, Operation};
use candle_core::{Result, Shape, Tensor};

/// `softmax(query key^T / sqrt(C / heads)) value` in each of `heads` groups of channels.
///
/// `query` is (N, ..., C). `key_value` is (N, ..., 2C): the keys' channels, then the values'. Its
/// pixels may be fewer. The result has the shape of `query`. Elements are f32, or on a GPU bf16. Scores
/// are f32.
///
/// Neither pass keeps the scores: they are computed for a block of queries at a time, and again in
/// the backward pass. Cost, with L queries and M keys in an image: `2 N L M C` multiply-adds and `N
/// L M heads` exponentials, and two and a half times as much for the gradients, which are computed
/// together. A GPU multiplies f32 without rounding to TF32, and needs up to 48 MiB for scores.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let query = Tensor::zeros((1, 3, 5, 4), DType::F32, &Device::Cpu)?;
/// let key_value = Tensor::ones((1, 2, 2, 8), DType::F32, &Device::Cpu)?;
/// // Equal scores weight all values alike.
/// let y = robustseg_ops::attention(&query, &key_value, 2)?;
/// assert_eq!(y.dims(), [1, 3, 5, 4]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0; 60]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit each other, or the channels are no multiple of `heads`.
pub fn attention(query: &Tensor, key_value: &Tensor, heads: usize) -> Result<Tensor> {
    const NAME: &str = "attention";
    error::activation(NAME, query)?;
    for tensor in [query, key_value] {
        error::dtype(NAME, query.dtype(), tensor)?;
        if tensor.rank() < 3 || tensor.elem_count() == 0 {
            return Err(error::shape(NAME, "(N, ..., channels)", tensor));
        }
    }
    let (images, channels) = (query.dims()[0], query.dims()[query.rank() - 1]);
    if heads == 0 || channels % heads != 0 {
        return Err(error::shape(NAME, format!("a number of channels that {heads} heads share"), query));
    }
    if key_value.dims()[0] != images || key_value.dims()[key_value.rank() - 1] != 2 * channels {
        let expected = format!("keys and values ({images}, ..., {})", 2 * channels);
        return Err(error::shape(NAME, expected, key_value));
    }
    apply(Attention { images, channels, heads }, [query, key_value])
}

/// Of (query, `key_value`).
#[derive(Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) heads: usize,
}

impl Operation<2> for Attention {
    const NAME: &'static str = "attention";

    fn shape(&self, [query, _]: [&Shape; 2]) -> Shape {
        query.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let ([query, key_value], [needs_query, needs_key_value]) = (backward.inputs, backward.needs);
        let both = run(AttentionGradient(*self), [query, key_value, backward.gradient])?;
        let of = |input: &Tensor, start| both.narrow(0, start, input.elem_count())?.reshape(input.shape());
        Ok([
            needs_query.then(|| of(query, 0)).transpose()?,
            needs_key_value.then(|| of(key_value, query.elem_count())).transpose()?,
        ])
    }
}

/// The gradients of the query and then of the keys and values, in one vector, from (query,
/// `key_value`, gradient).
pub(crate) struct AttentionGradient(pub(crate) Attention);

impl Operation<3> for AttentionGradient {
    const NAME: &'static str = "attention_gradient";

    fn shape(&self, [query, key_value, _]: [&Shape; 3]) -> Shape {
        Shape::from(query.elem_count() + key_value.elem_count())
    }
}
