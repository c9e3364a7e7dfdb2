//! Batch norm followed by `ReLU`, channels last.

use crate::cpu::batch_norm::{self, Channels};
use crate::cpu::{f32_slice, f32_slice_mut};
use crate::error;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, InplaceOp3, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, Storage};

/// Mean and biased variance of every channel of `x` (..., C), each (C); no gradient flows through them.
///
/// # Errors
/// If `x` has no elements.
pub fn batch_statistics(x: &Tensor) -> Result<BatchStatistics> {
    error::activation("batch_statistics", x)?;
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
        let both = batch_norm::statistics(f32_slice(x, xl)?, self.channels).concat();
        Ok((CpuStorage::F32(both), Shape::from((2, self.channels))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{batch_norm::statistics, by_element};
        let both = by_element!(x, statistics(x, xl, self.channels))?;
        Ok((both, Shape::from((2, self.channels))))
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
        error::activation("batch_norm_relu", x)?;
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
        let values = self.channel_values(weight, bias)?;
        batch_norm::scale_shift_relu(out, x, &values.scale, &values.shift);
        Ok(())
    }

    /// What `work` makes of the statistics and of `weight` and `bias`, all on the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn with_norm<R>(
        &self,
        [weight, bias]: [candle_core::cuda_backend::cudarc::driver::CudaView<'_, f32>; 2],
        work: impl FnOnce(&crate::cuda::batch_norm::Norm<'_>) -> Result<R>,
    ) -> Result<R> {
        use crate::cuda::{storage_of, view};
        let ((mean, ml), (variance, vl)) =
            (self.mean.storage_and_layout(), self.variance.storage_and_layout());
        let statistic = |storage, layout| view::<f32>(storage_of(storage, "batch_norm_relu")?, layout);
        let (mean, variance) = (statistic(&mean as &Storage, ml)?, statistic(&variance as &Storage, vl)?);
        work(&crate::cuda::batch_norm::Norm { mean, variance, weight, bias, eps: self.eps })
    }

    fn channel_values(&self, weight: &[f32], bias: &[f32]) -> Result<ChannelValues> {
        let mean = self.mean.to_vec1::<f32>()?;
        let variance = self.variance.to_vec1::<f32>()?;
        let deviation: Vec<f32> = variance.iter().map(|v| (v + self.eps).sqrt()).collect();
        let scale: Vec<f32> = weight.iter().zip(&deviation).map(|(w, d)| w / d).collect();
        // In this form, which is PyTorch's, the sweep takes one multiply-add.
        let shift = bias.iter().zip(&mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale);
        let shift = shift.collect();
        Ok(ChannelValues { mean, deviation, scale, shift })
    }

    /// Turns `gradient`, that of the output, into that of the input `x`, in place, and gives the gradient of `parameters`
    /// (weight and bias, (2, C)) where it is wanted.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        let [needs_input, needs_parameters] = self.needs;
        let sums = (needs_parameters || self.source == StatisticsSource::Batch)
            .then(|| x.apply_op3_no_bwd(gradient, parameters, &ParameterGradients { op: self }))
            .transpose()?;
        if needs_input {
            let sums = sums.as_ref().filter(|_| self.source == StatisticsSource::Batch);
            gradient.inplace_op3(x, parameters, &InputGradient { op: self, sums })?;
        }
        Ok(sums.filter(|_| needs_parameters))
    }
}

/// What a batch norm does on the CPU, see [`Channels`].
struct ChannelValues {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl ChannelValues {
    fn borrow(&self) -> Channels<'_> {
        let Self { mean, deviation, scale, shift } = self;
        Channels { mean, deviation, scale, shift }
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        weight: &CudaStorage,
        wl: &Layout,
        bias: &CudaStorage,
        bl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{batch_norm::scale_shift_relu, by_element, view};
        let parameters = [view::<f32>(weight, wl)?, view::<f32>(bias, bl)?];
        let out = self.with_norm(parameters, |norm| by_element!(x, scale_shift_relu(x, xl, norm)))?;
        Ok((out, xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // The gradient is candle's; what is changed in place is a copy.
        let gradient = gradient.force_contiguous()?;
        let sums = self.backward(x, &Tensor::stack(&[weight, bias], 0)?, &gradient)?;
        let (weight, bias) = match sums {
            Some(sums) => (Some(sums.get(0)?), Some(sums.get(1)?)),
            None => (None, None),
        };
        Ok((self.needs[0].then_some(gradient), weight, bias))
    }
}

/// The output's gradient becomes that of the input, given (x, weight and bias).
struct InputGradient<'a> {
    op: &'a BatchNormRelu,
    /// Under batch statistics, the gradients of weight and bias.
    sums: Option<&'a Tensor>,
}

impl InplaceOp3 for InputGradient<'_> {
    fn name(&self) -> &'static str {
        "batch_norm_relu_input_gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &mut CpuStorage,
        gl: &Layout,
        x: &CpuStorage,
        xl: &Layout,
        parameters: &CpuStorage,
        pl: &Layout,
    ) -> Result<()> {
        let (gradient, x) = (f32_slice_mut(gradient, gl)?, f32_slice(x, xl)?);
        let (weight, bias) = f32_slice(parameters, pl)?.split_at(xl.dims()[xl.dims().len() - 1]);
        let values = self.op.channel_values(weight, bias)?;
        match self.sums {
            Some(sums) => {
                let (weight, bias) = (sums.get(0)?.to_vec1::<f32>()?, sums.get(1)?.to_vec1::<f32>()?);
                batch_norm::input_gradient_batch(gradient, x, &values.borrow(), [&weight, &bias]);
            }
            None => batch_norm::input_gradient_running(gradient, x, &values.borrow()),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &mut CudaStorage,
        gl: &Layout,
        x: &CudaStorage,
        xl: &Layout,
        parameters: &CudaStorage,
        pl: &Layout,
    ) -> Result<()> {
        use crate::cuda::{batch_norm::input_gradient, by_element, storage_of, view};
        let sums = self.sums.map(Tensor::storage_and_layout);
        let sums = sums.as_ref().map(|(sums, layout)| view::<f32>(storage_of(sums, self.name())?, layout));
        let sums = sums.transpose()?;
        self.op.with_norm(halves(parameters, pl)?, |norm| {
            by_element!(x, input_gradient(gradient, gl, x, xl, norm, sums.as_ref()))
        })
    }
}

/// Gradients of weight and bias (2, C) from (x, gradient, weight and bias).
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
        gradient: &CpuStorage,
        gl: &Layout,
        parameters: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, bias) = f32_slice(parameters, pl)?.split_at(xl.dims()[xl.dims().len() - 1]);
        let values = self.op.channel_values(weight, bias)?;
        let both =
            batch_norm::parameter_gradients(f32_slice(x, xl)?, f32_slice(gradient, gl)?, &values.borrow());
        let shape = Shape::from((2, values.mean.len()));
        Ok((CpuStorage::F32(both.concat()), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
        parameters: &CudaStorage,
        pl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{batch_norm::parameter_gradients, by_element};
        let both = self.op.with_norm(halves(parameters, pl)?, |norm| {
            by_element!(x, parameter_gradients(x, xl, gradient, gl, norm))
        })?;
        Ok((both, pl.shape().clone()))
    }
}

/// Weight and bias, of which `parameters` (2, C) are made.
#[cfg(feature = "cuda")]
pub(crate) fn halves<'a>(
    parameters: &'a CudaStorage,
    layout: &Layout,
) -> Result<[candle_core::cuda_backend::cudarc::driver::CudaView<'a, f32>; 2]> {
    let both = crate::cuda::view::<f32>(parameters, layout)?;
    let (_, channels) = layout.shape().dims2()?;
    Ok([both.slice(..channels), both.slice(channels..)])
}
