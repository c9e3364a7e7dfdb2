//! Batch norm, `ReLU` and convolution as one operation, the unit of a pre-activation network.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::batch_norm::{Activation, BatchNorm, Normalisation, batch_norm_relu_in_place};
use crate::convolution::{Conv2d, conv2d};
use crate::geometry::{Conv2dConfig, Geometry};
use crate::in_place::is_recorded;
use crate::operation::{Backward, Operation};
use crate::pair::pair;
use candle_core::{Result, Shape, Tensor};

/// `conv2d(batch_norm_relu(x, norm), weight, config)`, with the same gradients.
///
/// The backward pass computes the activated map between the two again instead of keeping it, and
/// accumulates no gradient for it. `x` is (N, H, W, I), `weight` (O, KH, KW, I), the result
/// (N, OH, OW, O).
///
/// # Errors
/// As [`batch_norm_relu`](crate::batch_norm_relu) and [`conv2d`](crate::conv2d).
pub fn batch_norm_relu_conv2d(
    x: &Tensor,
    norm: BatchNorm<'_>,
    weight: &Tensor,
    config: Conv2dConfig,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    let (operation, parameters) = NormConvolution::new(x, norm, weight, config, arithmetic)?;
    apply(operation, [x, &parameters, weight])
}

/// [`batch_norm_relu_conv2d`], with the activated map in the memory of `x` if no gradient is recorded.
/// The values of all clones and views of `x` are then lost.
///
/// # Errors
/// As [`batch_norm_relu_conv2d`].
pub fn batch_norm_relu_conv2d_in_place(
    x: Tensor,
    norm: BatchNorm<'_>,
    weight: &Tensor,
    config: Conv2dConfig,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    if is_recorded(&[&x, norm.weight, norm.bias, weight]) {
        return batch_norm_relu_conv2d(&x, norm, weight, config, arithmetic);
    }
    conv2d(&batch_norm_relu_in_place(x, norm)?, weight, config, arithmetic)
}

/// Batch norm, `ReLU` and convolution of (x, weight and bias of the norm, weight of the
/// convolution).
pub(crate) struct NormConvolution {
    pub(crate) normalise: Normalisation,
    pub(crate) convolve: Conv2d,
}

impl NormConvolution {
    /// The operation, with the norm's weight and bias.
    pub(crate) fn new(
        x: &Tensor,
        norm: BatchNorm<'_>,
        weight: &Tensor,
        config: Conv2dConfig,
        arithmetic: Arithmetic,
    ) -> Result<(Self, Tensor)> {
        const NAME: &str = "batch_norm_relu_conv2d";
        let normalise = Normalisation::new(NAME, x, norm, Activation::Relu)?;
        let parameters = pair(norm.weight, norm.bias)?;
        let convolve = Conv2d { geometry: Geometry::new(NAME, x, weight, config)?, arithmetic };
        Ok((Self { normalise, convolve }, parameters))
    }

    /// The gradient of each input that needs one, from `gradient`, that of the convolution's output.
    pub(crate) fn gradients(
        &self,
        backward: &Backward<'_, 3>,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [x, parameters, weight] = backward.inputs;
        let [needs_x, needs_parameters, needs_weight] = backward.needs;
        let kernels =
            needs_weight.then(|| run(WeightGradient(self), [x, parameters, gradient])).transpose()?;
        if !needs_x && !needs_parameters {
            return Ok([None, None, kernels]);
        }
        let inner = self.convolve.input_gradient(weight, gradient)?;
        let (needs, found) = ([needs_x, needs_parameters], backward.take_found(0));
        let parameters = self.normalise.backward(x, parameters, &inner, needs, found.as_ref())?;
        Ok([needs_x.then_some(inner), parameters, kernels])
    }
}

impl Operation<3> for NormConvolution {
    const NAME: &'static str = "batch_norm_relu_conv2d";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.convolve.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        Self::gradients(self, backward, backward.gradient)
    }
}

/// The gradient of the convolution's weight, from (x, weight and bias of the norm, gradient).
pub(crate) struct WeightGradient<'a>(pub(crate) &'a NormConvolution);

impl Operation<3> for WeightGradient<'_> {
    const NAME: &'static str = "batch_norm_relu_conv2d_weight_gradient";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.0.convolve.geometry.weight_shape()
    }
}
