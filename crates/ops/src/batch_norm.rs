//! Batch norm, alone, followed by `ReLU`, and with a residual before the `ReLU`, channels last.

use crate::adapter::{apply, run};
use crate::deal::Deal;
use crate::error;
use crate::in_place::{Update, is_recorded, update2};
use crate::operation::{Backward, Operation};
use crate::pair::pair;
use candle_core::{Result, Shape, Tensor, bail};

/// Mean and biased variance of every channel of `x` (..., C). No gradient flows through them. Cost:
/// one reading of `x`.
///
/// # Errors
/// If `x` has no elements.
pub fn batch_statistics(x: &Tensor) -> Result<BatchStatistics> {
    error::activation("batch_statistics", x)?;
    let channels = channels("batch_statistics", x)?;
    let both = run(Statistics { channels }, [x])?;
    Ok(BatchStatistics::new(both.get(0)?, both.get(1)?))
}

/// [`batch_statistics`] of a whole batch whose rows are dealt out to several processes, given `x`, the
/// rows of this one (rows, ..., C). They are the same on all ranks. The gradient of a norm that uses
/// them accounts for the rows of all ranks, which takes another exchange of two numbers for each
/// channel.
///
/// # Errors
/// If `x` has no elements, or a rank has ended.
pub fn dealt_statistics(x: &Tensor, deal: &Deal) -> Result<BatchStatistics> {
    let own = batch_statistics(x)?;
    let (device, all) = (own.mean.device(), Tensor::stack(&[&own.mean, &own.variance], 0)?);
    let all = deal.of_each_rank(&all)?;
    let channels = own.mean.elem_count();
    let weights: Vec<f64> = deal.shares();
    let weighted = |of: &dyn Fn(&[f32]) -> f64| -> f64 {
        all.iter().zip(&weights).map(|(both, weight)| weight * of(both)).sum()
    };
    let (mut mean, mut variance) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for channel in 0..channels {
        // Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm, 1979.
        let center = weighted(&|both| f64::from(both[channel]));
        let spread = weighted(&|both| {
            f64::from(both[channels + channel]) + (f64::from(both[channel]) - center).powi(2)
        });
        mean.push(center as f32);
        variance.push(spread as f32);
    }
    let tensor = |values| Tensor::from_vec(values, channels, device);
    Ok(BatchStatistics { deal: Some(deal.clone()), ..BatchStatistics::new(tensor(mean)?, tensor(variance)?) })
}

/// Mean and biased variance of every channel, each of shape (C).
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean over all axes but the last.
    pub mean: Tensor,
    /// Mean squared distance from the mean (divided by the count, not by count - 1).
    pub variance: Tensor,
    /// How the batch was dealt out, if several processes have parts of it.
    deal: Option<Deal>,
}

impl BatchStatistics {
    /// These statistics.
    pub fn new(mean: Tensor, variance: Tensor) -> Self {
        Self { mean, variance, deal: None }
    }
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
    apply(Normalisation::new("batch_norm_relu", x, norm, Activation::Relu)?, [x, weight, bias])
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for `x` (..., C), with the gradients of
/// [`batch_norm_relu`] but for the `ReLU`.
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm(x: &Tensor, norm: BatchNorm<'_>) -> Result<Tensor> {
    apply(Normalisation::new("batch_norm", x, norm, Activation::Identity)?, [x, norm.weight, norm.bias])
}

/// `relu(batch_norm(x, norm) + residual)` for `x` and `residual` (..., C): the end of a
/// post-activation residual block (He et al. 2016, *Deep Residual Learning*). The gradients are
/// those of the operations in turn.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{BatchNorm, StatisticsSource, batch_norm_add_relu, batch_statistics};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32], [3.0]], &Device::Cpu)?; // two pixels of one channel
/// let (weight, bias) = (Tensor::new(&[2_f32], &Device::Cpu)?, Tensor::new(&[0.5_f32], &Device::Cpu)?);
/// let (statistics, source) = (batch_statistics(&x)?, StatisticsSource::Batch); // mean 2, variance 1
/// let norm = BatchNorm { weight: &weight, bias: &bias, statistics: &statistics, source, eps: 0.0 };
/// let residual = Tensor::new(&[[4_f32], [-4.0]], &Device::Cpu)?;
/// assert_eq!(batch_norm_add_relu(&x, norm, &residual)?.to_vec2::<f32>()?, [[2.5], [0.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes or the types of `x` and `residual` do not fit.
pub fn batch_norm_add_relu(x: &Tensor, norm: BatchNorm<'_>, residual: &Tensor) -> Result<Tensor> {
    let (operation, parameters) = residual_norm(x, norm, residual)?;
    apply(operation, [x, &parameters, residual])
}

/// The operation, with the norm's weight and bias.
fn residual_norm(x: &Tensor, norm: BatchNorm<'_>, residual: &Tensor) -> Result<(ResidualNorm, Tensor)> {
    const NAME: &str = "batch_norm_add_relu";
    if residual.shape() != x.shape() {
        return Err(error::shape(NAME, format!("residual of shape {:?}", x.dims()), residual));
    }
    error::dtype(NAME, x.dtype(), residual)?;
    let parameters = pair(norm.weight, norm.bias)?;
    Ok((ResidualNorm(Normalisation::new(NAME, x, norm, Activation::Identity)?), parameters))
}

/// [`batch_norm`] in the memory of `x` if no gradient is recorded, which saves a map and a third of the
/// time. The values of all clones and views of `x` are then lost.
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm_in_place(x: Tensor, norm: BatchNorm<'_>) -> Result<Tensor> {
    normalise_in_place("batch_norm", x, norm, Activation::Identity)
}

/// [`batch_norm_relu`] in the memory of `x`, as [`batch_norm_in_place`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{BatchNorm, StatisticsSource, batch_norm_relu_in_place, batch_statistics};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32], [3.0]], &Device::Cpu)?; // two pixels of one channel
/// let (weight, bias) = (Tensor::new(&[2_f32], &Device::Cpu)?, Tensor::new(&[0.5_f32], &Device::Cpu)?);
/// let (statistics, source) = (batch_statistics(&x)?, StatisticsSource::Batch); // mean 2, variance 1
/// let norm = BatchNorm { weight: &weight, bias: &bias, statistics: &statistics, source, eps: 0.0 };
/// assert_eq!(batch_norm_relu_in_place(x, norm)?.to_vec2::<f32>()?, [[0.0], [2.5]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm_relu_in_place(x: Tensor, norm: BatchNorm<'_>) -> Result<Tensor> {
    normalise_in_place("batch_norm_relu", x, norm, Activation::Relu)
}

/// [`batch_norm_add_relu`] in the memory of `x`, as [`batch_norm_in_place`].
///
/// # Errors
/// If the shapes or the types of `x` and `residual` do not fit, or if `residual` is `x`.
pub fn batch_norm_add_relu_in_place(x: Tensor, norm: BatchNorm<'_>, residual: &Tensor) -> Result<Tensor> {
    if is_recorded(&[&x, norm.weight, norm.bias, residual]) {
        return batch_norm_add_relu(&x, norm, residual);
    }
    if x.id() == residual.id() {
        bail!("batch_norm_add_relu: expected a residual that is not overwritten with x");
    }
    let (operation, parameters) = residual_norm(&x, norm, residual)?;
    update2(&operation, &x, [&parameters, residual])?;
    Ok(x)
}

fn normalise_in_place(
    name: &'static str,
    x: Tensor,
    norm: BatchNorm<'_>,
    activation: Activation,
) -> Result<Tensor> {
    let operation = Normalisation::new(name, &x, norm, activation)?;
    if is_recorded(&[&x, norm.weight, norm.bias]) {
        return apply(operation, [&x, norm.weight, norm.bias]);
    }
    update2(&operation, &x, [norm.weight, norm.bias])?;
    Ok(x)
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

/// The function that follows a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    Relu,
}

/// Batch norm and activation of (x, weight, bias).
pub(crate) struct Normalisation {
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
    pub(crate) eps: f32,
    pub(crate) activation: Activation,
    source: StatisticsSource,
    deal: Option<Deal>,
}

impl Normalisation {
    pub(crate) fn new(
        name: &'static str,
        x: &Tensor,
        norm: BatchNorm<'_>,
        activation: Activation,
    ) -> Result<Self> {
        let BatchNorm { weight, bias, statistics, source, eps } = norm;
        error::activation(name, x)?;
        let channels = channels(name, x)?;
        for tensor in [weight, bias, &statistics.mean, &statistics.variance] {
            if tensor.dims() != [channels] {
                let expected = format!("one value for each of {channels} channels");
                return Err(error::shape(name, expected, tensor));
            }
        }
        let (mean, variance) = (statistics.mean.detach(), statistics.variance.detach());
        Ok(Self { mean, variance, eps, activation, source, deal: statistics.deal.clone() })
    }

    /// Turns `gradient`, the output's, into that of the input `x`, in place, if the input needs it, and
    /// adds `found` to it. Returns the gradient of `parameters` (weight and bias, (2, C)) if those need
    /// it.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        gradient: &Tensor,
        [needs_input, needs_parameters]: [bool; 2],
        found: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let from_batch = self.source == StatisticsSource::Batch;
        let sums = (needs_parameters || from_batch)
            .then(|| run(ParameterGradients(self), [x, gradient, parameters]))
            .transpose()?;
        if needs_input {
            let own = sums.as_ref().filter(|_| from_batch);
            let all = match (own, &self.deal) {
                (Some(own), Some(deal)) => Some(deal.mean_of_ranks(own)?),
                _ => None,
            };
            let update = InputGradient { norm: self, sums: all.as_ref().or(own), found };
            update2(&update, gradient, [x, parameters])?;
        }
        Ok(sums.filter(|_| needs_parameters))
    }
}

impl Operation<3> for Normalisation {
    const NAME: &'static str = "batch_norm";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let ([x, weight, bias], [needs_x, needs_weight, needs_bias]) = (backward.inputs, backward.needs);
        let gradient = backward.overwritable()?;
        let (parameters, found) = (pair(&weight.detach(), &bias.detach())?, backward.take_found(0));
        let needs = [needs_x, needs_weight || needs_bias];
        let sums = self.backward(x, &parameters, &gradient, needs, found.as_ref())?;
        let (weight, bias) = match sums {
            Some(sums) => (Some(sums.get(0)?), Some(sums.get(1)?)),
            None => (None, None),
        };
        Ok([needs_x.then_some(gradient), weight, bias])
    }
}

impl Update<2> for Normalisation {
    const NAME: &'static str = "batch_norm_in_place";
}

/// `relu(normalised x + residual)` of (x, weight and bias of the norm, residual). The norm has no
/// activation of its own.
pub(crate) struct ResidualNorm(pub(crate) Normalisation);

impl Operation<3> for ResidualNorm {
    const NAME: &'static str = "batch_norm_add_relu";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let [x, parameters, _] = backward.inputs;
        let [needs_x, needs_parameters, needs_residual] = backward.needs;
        let passed = run(ReluGradient, [backward.output, backward.gradient])?;
        // The norm overwrites the gradient that it gets.
        let inner = if needs_x && needs_residual { passed.copy()? } else { passed.clone() };
        let (needs, found) = ([needs_x, needs_parameters], backward.take_found(0));
        let parameters = self.0.backward(x, parameters, &inner, needs, found.as_ref())?;
        Ok([needs_x.then_some(inner), parameters, needs_residual.then_some(passed)])
    }
}

impl Update<2> for ResidualNorm {
    const NAME: &'static str = "batch_norm_add_relu_in_place";
}

/// The gradient before a `ReLU`, from (its output, the gradient of its output).
pub(crate) struct ReluGradient;

impl Operation<2> for ReluGradient {
    const NAME: &'static str = "relu_gradient";

    fn shape(&self, [output, _]: [&Shape; 2]) -> Shape {
        output.clone()
    }
}

/// The gradients of weight and bias (2, C), from (x, gradient, weight and bias).
pub(crate) struct ParameterGradients<'a>(pub(crate) &'a Normalisation);

impl Operation<3> for ParameterGradients<'_> {
    const NAME: &'static str = "batch_norm_parameter_gradients";

    fn shape(&self, [_, _, parameters]: [&Shape; 3]) -> Shape {
        parameters.clone()
    }
}

/// Overwrites the gradient of the output by that of the input, given (x, weight and bias).
pub(crate) struct InputGradient<'a> {
    pub(crate) norm: &'a Normalisation,
    /// Under batch statistics, the gradients of weight and bias, by the mean over ranks of equal shares
    /// if there are several.
    pub(crate) sums: Option<&'a Tensor>,
    /// An earlier gradient of the input, to be added.
    pub(crate) found: Option<&'a Tensor>,
}

impl Update<2> for InputGradient<'_> {
    const NAME: &'static str = "batch_norm_input_gradient";
}
