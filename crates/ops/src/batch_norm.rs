//! Batch norm followed by `ReLU`, channels last.

use crate::cpu::{self, batch_norm::BatchGradient, f32_slice};
use crate::error;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor};

/// Mean and biased variance of every channel of `x` (..., C), each (C); no gradient flows through them.
///
/// # Errors
/// If `x` has no elements.
pub fn batch_statistics(x: &Tensor) -> Result<BatchStatistics> {
    error::dtype("batch_statistics", DType::F32, x)?;
    let channels = channels("batch_statistics", x)?;
    let both = x.contiguous()?.apply_op1_no_bwd(&Statistics { channels })?;
    Ok(BatchStatistics { mean: both.get(0)?, variance: both.get(1)? })
}

/// Mean and biased variance of every channel, each of shape (C).
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean over all but the last axis.
    pub mean: Tensor,
    /// Mean squared distance from the mean (divided by the count, not count - 1).
    pub variance: Tensor,
}

/// Where the statistics that normalise came from, which decides about the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatisticsSource {
    /// From the input itself ([`batch_statistics`]): the gradient takes their dependence into account.
    Batch,
    /// From elsewhere (running statistics): constants.
    Running,
}

/// `relu((x - mean) / sqrt(variance + eps) * weight + bias)` for `x` (..., C), the rest (C).
///
/// The gradient of `ReLU` at zero is zero. Gradients of `weight` and `bias` are computed only where those are
/// tracked; none flows to the statistics except through [`StatisticsSource::Batch`]'s dependence on `x`.
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
    let op = BatchNormRelu::new(x, BatchNorm { weight, bias, statistics, source, eps })?;
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// A batch norm's parameters and statistics, each (C).
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor.
    pub weight: &'a Tensor,
    /// Offset.
    pub bias: &'a Tensor,
    /// What normalises.
    pub statistics: &'a BatchStatistics,
    /// Where the statistics are from.
    pub source: StatisticsSource,
    /// Added to the variance.
    pub eps: f32,
}

fn channels(operation: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&channels) if x.elem_count() > 0 => Ok(channels),
        _ => Err(error::shape(operation, "at least one element, channels last", x)),
    }
}

struct Statistics {
    channels: usize,
}

impl CustomOp1 for Statistics {
    fn name(&self) -> &'static str {
        "batch_statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let both = cpu::batch_norm::statistics(f32_slice(x, xl)?, self.channels).concat();
        Ok((CpuStorage::F32(both), Shape::from((2, self.channels))))
    }
}

pub(crate) struct BatchNormRelu {
    mean: Tensor,
    variance: Tensor,
    source: StatisticsSource,
    eps: f32,
    /// Whether the gradients of the input and of weight or bias are wanted.
    needs: [bool; 2],
}

impl BatchNormRelu {
    pub(crate) fn new(x: &Tensor, norm: BatchNorm<'_>) -> Result<Self> {
        let BatchNorm { weight, bias, statistics, source, eps } = norm;
        error::dtype("batch_norm_relu", DType::F32, x)?;
        let channels = channels("batch_norm_relu", x)?;
        for tensor in [weight, bias, &statistics.mean, &statistics.variance] {
            if tensor.dims() != [channels] {
                let expected = format!("one value for each of {channels} channels");
                return Err(error::shape("batch_norm_relu", expected, tensor));
            }
        }
        Ok(Self {
            mean: statistics.mean.detach(),
            variance: statistics.variance.detach(),
            source,
            eps,
            needs: [x.track_op(), weight.track_op() || bias.track_op()],
        })
    }

    /// The operation's output for `x` goes to `out`.
    pub(crate) fn output(&self, out: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) -> Result<()> {
        let [mean, _, scale] = self.channel_values(weight)?;
        // In this form, which is PyTorch's, the sweep takes one multiply-add.
        let shift: Vec<f32> =
            bias.iter().zip(&mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale).collect();
        cpu::batch_norm::scale_shift_relu(out, x, &scale, &shift);
        Ok(())
    }

    /// Mean, deviation, and weight over deviation of every channel, on the CPU.
    fn channel_values(&self, weight: &[f32]) -> Result<[Vec<f32>; 3]> {
        let mean = self.mean.to_vec1::<f32>()?;
        let variance = self.variance.to_vec1::<f32>()?;
        let deviation: Vec<f32> = variance.iter().map(|v| (v + self.eps).sqrt()).collect();
        let scale = weight.iter().zip(&deviation).map(|(w, d)| w / d).collect();
        Ok([mean, deviation, scale])
    }
}

impl CustomOp3 for BatchNormRelu {
    fn name(&self) -> &'static str {
        "batch_norm_relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = f32_slice(x, xl)?;
        let mut out = vec![0.0; x.len()];
        self.output(&mut out, x, f32_slice(weight, wl)?, f32_slice(bias, bl)?)?;
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [needs_input, needs_parameters] = self.needs;
        let gradient = gradient.contiguous()?;
        let parameters = if needs_parameters || self.source == StatisticsSource::Batch {
            Some(x.apply_op3_no_bwd(out, &gradient, &ParameterGradients { op: self })?)
        } else {
            None
        };
        let input = if needs_input {
            let op = InputGradient { op: self, weight, parameters: parameters.as_ref() };
            Some(x.apply_op3_no_bwd(out, &gradient, &op)?)
        } else {
            None
        };
        match parameters {
            Some(both) if needs_parameters => Ok((input, Some(both.get(1)?), Some(both.get(0)?))),
            _ => Ok((input, None, None)),
        }
    }
}

/// The input gradient from (x, out, gradient) and, under batch statistics, the parameters' gradients.
struct InputGradient<'a> {
    op: &'a BatchNormRelu,
    weight: &'a Tensor,
    parameters: Option<&'a Tensor>,
}

impl CustomOp3 for InputGradient<'_> {
    fn name(&self) -> &'static str {
        "batch_norm_relu_input_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        out: &CpuStorage,
        ol: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, out, gradient) = (f32_slice(x, xl)?, f32_slice(out, ol)?, f32_slice(gradient, gl)?);
        let [mean, deviation, scale] = self.op.channel_values(&self.weight.to_vec1::<f32>()?)?;
        let result = match (self.op.source, self.parameters) {
            (StatisticsSource::Batch, Some(parameters)) => {
                let channel = BatchGradient {
                    mean: &mean,
                    deviation: &deviation,
                    scale: &scale,
                    bias_gradient: &parameters.get(0)?.to_vec1::<f32>()?,
                    weight_gradient: &parameters.get(1)?.to_vec1::<f32>()?,
                };
                cpu::batch_norm::input_gradient_batch(x, out, gradient, &channel)
            }
            _ => cpu::batch_norm::input_gradient_running(out, gradient, &scale),
        };
        Ok((CpuStorage::F32(result), xl.shape().clone()))
    }
}

/// Gradients of bias and weight (2, C) from (x, out, gradient).
struct ParameterGradients<'a> {
    op: &'a BatchNormRelu,
}

impl CustomOp3 for ParameterGradients<'_> {
    fn name(&self) -> &'static str {
        "batch_norm_relu_parameter_gradients"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        out: &CpuStorage,
        ol: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, out, gradient) = (f32_slice(x, xl)?, f32_slice(out, ol)?, f32_slice(gradient, gl)?);
        let mean = self.op.mean.to_vec1::<f32>()?;
        let variance = self.op.variance.to_vec1::<f32>()?;
        let deviation: Vec<f32> = variance.iter().map(|v| (v + self.op.eps).sqrt()).collect();
        let both = cpu::batch_norm::parameter_gradients(x, out, gradient, &mean, &deviation);
        let shape = Shape::from((2, mean.len()));
        Ok((CpuStorage::F32(both.concat()), shape))
    }
}
