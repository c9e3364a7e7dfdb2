//! Batch norm followed by `ReLU`, channels last.

use crate::adapter::{apply, run};
use crate::error;
use crate::in_place::{Update, update2};
use crate::operation::{Backward, Operation};
use candle_core::{Result, Shape, Tensor};

/// Mean and biased variance of every channel of `x` (..., C). No gradient flows through them. Cost:
/// one reading of `x`.
///
/// # Errors
/// If `x` has no elements.
pub fn batch_statistics(x: &Tensor) -> Result<BatchStatistics> {
    error::activation("batch_statistics", x)?;
    let channels = channels("batch_statistics", x)?;
    let both = run(Statistics { channels }, [x])?;
    Ok(BatchStatistics { mean: both.get(0)?, variance: both.get(1)? })
}

/// Mean and biased variance of every channel, each of shape (C).
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean over all axes but the last.
    pub mean: Tensor,
    /// Mean squared distance from the mean (divided by the count, not by count - 1).
    pub variance: Tensor,
}

/// The origin of the statistics, which decides about the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticsSource {
    /// The input itself ([`batch_statistics`]). The gradient accounts for their dependence on it.
    Batch,
    /// Elsewhere, such as running statistics. They are constants.
    Running,
}

/// The parameters and statistics of a batch norm, each of shape (C).
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor.
    pub weight: &'a Tensor,
    /// Offset.
    pub bias: &'a Tensor,
    /// Statistics that normalise.
    pub statistics: &'a BatchStatistics,
    /// Origin of the statistics.
    pub source: StatisticsSource,
    /// Added to the variance.
    pub eps: f32,
}

/// `relu((x - mean) / sqrt(variance + eps) * weight + bias)` for `x` (..., C). The other arguments
/// are (C).
///
/// The gradient of `ReLU` at zero is zero. Weight and bias get gradients only if they are tracked.
/// The statistics get none, but under [`StatisticsSource::Batch`] the gradient of `x` accounts for
/// them.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{StatisticsSource, batch_norm_relu, batch_statistics};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32], [3.0]], &Device::Cpu)?; // two pixels of one channel
/// let (weight, bias) = (Tensor::new(&[2_f32], &Device::Cpu)?, Tensor::new(&[0.5_f32], &Device::Cpu)?);
/// let statistics = batch_statistics(&x)?; // mean 2, variance 1
/// let y = batch_norm_relu(&x, &weight, &bias, &statistics, StatisticsSource::Batch, 0.0)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[0.0], [2.5]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    statistics: &BatchStatistics,
    source: StatisticsSource,
    eps: f32,
) -> Result<Tensor> {
    let norm = BatchNorm { weight, bias, statistics, source, eps };
    apply(BatchNormRelu::new(x, norm)?, [x, weight, bias])
}

fn channels(operation: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&channels) if x.elem_count() > 0 => Ok(channels),
        _ => Err(error::shape(operation, "at least one element, channels last", x)),
    }
}

/// Mean and variance (2, C).
pub(crate) struct Statistics {
    pub(crate) channels: usize,
}

impl Operation<1> for Statistics {
    const NAME: &'static str = "batch_statistics";

    fn shape(&self, _: [&Shape; 1]) -> Shape {
        Shape::from((2, self.channels))
    }
}

/// Batch norm and `ReLU` of (x, weight, bias).
pub(crate) struct BatchNormRelu {
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
    pub(crate) eps: f32,
    source: StatisticsSource,
}

impl BatchNormRelu {
    pub(crate) fn new(x: &Tensor, norm: BatchNorm<'_>) -> Result<Self> {
        let BatchNorm { weight, bias, statistics, source, eps } = norm;
        error::activation("batch_norm_relu", x)?;
        let channels = channels("batch_norm_relu", x)?;
        for tensor in [weight, bias, &statistics.mean, &statistics.variance] {
            if tensor.dims() != [channels] {
                let expected = format!("one value for each of {channels} channels");
                return Err(error::shape("batch_norm_relu", expected, tensor));
            }
        }
        Ok(Self { mean: statistics.mean.detach(), variance: statistics.variance.detach(), eps, source })
    }

    /// Turns `gradient`, the output's, into that of the input `x`, in place, if the input needs it.
    /// Returns the gradient of `parameters` (weight and bias, (2, C)) if those need it.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        gradient: &Tensor,
        [needs_input, needs_parameters]: [bool; 2],
    ) -> Result<Option<Tensor>> {
        let from_batch = self.source == StatisticsSource::Batch;
        let sums = (needs_parameters || from_batch)
            .then(|| run(ParameterGradients(self), [x, gradient, parameters]))
            .transpose()?;
        if needs_input {
            let sums = sums.as_ref().filter(|_| from_batch);
            update2(&InputGradient { norm: self, sums }, gradient, [x, parameters])?;
        }
        Ok(sums.filter(|_| needs_parameters))
    }
}

impl Operation<3> for BatchNormRelu {
    const NAME: &'static str = "batch_norm_relu";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let ([x, weight, bias], [needs_x, needs_weight, needs_bias]) = (backward.inputs, backward.needs);
        // The gradient belongs to the caller; its copy is overwritten.
        let gradient = backward.gradient.force_contiguous()?;
        let parameters = Tensor::stack(&[weight, bias], 0)?;
        let sums = self.backward(x, &parameters, &gradient, [needs_x, needs_weight || needs_bias])?;
        let (weight, bias) = match sums {
            Some(sums) => (Some(sums.get(0)?), Some(sums.get(1)?)),
            None => (None, None),
        };
        Ok([needs_x.then_some(gradient), weight, bias])
    }
}

/// The gradients of weight and bias (2, C), from (x, gradient, weight and bias).
pub(crate) struct ParameterGradients<'a>(pub(crate) &'a BatchNormRelu);

impl Operation<3> for ParameterGradients<'_> {
    const NAME: &'static str = "batch_norm_relu_parameter_gradients";

    fn shape(&self, [_, _, parameters]: [&Shape; 3]) -> Shape {
        parameters.clone()
    }
}

/// Overwrites the gradient of the output by that of the input, given (x, weight and bias).
pub(crate) struct InputGradient<'a> {
    pub(crate) norm: &'a BatchNormRelu,
    /// Under batch statistics, the gradients of weight and bias.
    pub(crate) sums: Option<&'a Tensor>,
}

impl Update<2> for InputGradient<'_> {
    const NAME: &'static str = "batch_norm_relu_input_gradient";
}
