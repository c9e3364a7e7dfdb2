//! Layer norm over channels (Ba et al. 2016), channels last.

use crate::adapter::{apply, run};
use crate::error;
use crate::operation::{Backward, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for `x` (..., C), f32 or on a GPU bf16, with
/// mean and biased variance of each pixel over its channels. `weight` and `bias` are (C), f32.
///
/// The backward pass computes the statistics again. Detached arguments get no gradient. Cost: two
/// readings of `x`, the second from the cache.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::layer_norm;
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 3.0], [10.0, 30.0]], &Device::Cpu)?; // two pixels of two channels
/// let (weight, bias) = (Tensor::new(&[1_f32, 2.0], &Device::Cpu)?, Tensor::new(&[0_f32, 5.0], &Device::Cpu)?);
/// assert_eq!(layer_norm(&x, &weight, &bias, 0.0)?.to_vec2::<f32>()?, [[-1.0, 7.0]; 2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit or the elements have another type.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    const NAME: &str = "layer_norm";
    let channels = x.dims().last().copied().unwrap_or(0);
    if x.elem_count() == 0 {
        return Err(error::shape(NAME, "at least one element, channels last", x));
    }
    error::activation(NAME, x)?;
    for tensor in [weight, bias] {
        error::dtype(NAME, DType::F32, tensor)?;
        if tensor.dims() != [channels] {
            return Err(error::shape(NAME, format!("one value for each of {channels} channels"), tensor));
        }
    }
    apply(LayerNorm { eps, channels }, [x, weight, bias])
}

/// Of (x, weight, bias).
#[derive(Clone, Copy)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
    pub(crate) channels: usize,
}

impl Operation<3> for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let ([x, weight, _], gradient) = (backward.inputs, backward.gradient);
        let [needs_x, needs_weight, needs_bias] = backward.needs;
        let input = needs_x.then(|| run(LayerNormGradient(*self), [x, weight, gradient])).transpose()?;
        if !needs_weight && !needs_bias {
            return Ok([input, None, None]);
        }
        let sums = run(LayerNormParameters(*self), [x, gradient])?;
        Ok([input, Some(sums.get(0)?), Some(sums.get(1)?)])
    }
}

/// The gradient of the input, from (x, weight, gradient).
pub(crate) struct LayerNormGradient(pub(crate) LayerNorm);

impl Operation<3> for LayerNormGradient {
    const NAME: &'static str = "layer_norm_input_gradient";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }
}

/// The gradients of weight and bias (2, C), from (x, gradient).
pub(crate) struct LayerNormParameters(pub(crate) LayerNorm);

impl Operation<2> for LayerNormParameters {
    const NAME: &'static str = "layer_norm_parameter_gradients";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        Shape::from((2, self.0.channels))
    }
}
