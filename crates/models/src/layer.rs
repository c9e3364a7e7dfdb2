//! The layers that convolutional networks are made of.

use crate::chain::Chain;
use crate::run::Run;
use crate::variables::Variables;
use crate::{Mode, ParameterKind};
use candle_core::{DType, Result, Tensor};
use robustseg_ops::{
    BatchNorm, BatchStatistics, Conv2dConfig, FoldedNorm, RoundedCopy, StatisticsSource,
    batch_norm_add_relu_in_place, batch_norm_in_place, batch_norm_relu, batch_norm_relu_conv2d,
    batch_norm_relu_conv2d_in_place, batch_norm_relu_in_place, batch_statistics, conv2d, conv2d_add,
    dealt_statistics, move_running_statistics,
};

/// A convolution without bias.
pub(crate) struct Convolution {
    weight: Tensor,
    rounded: RoundedCopy,
    config: Conv2dConfig,
}

impl Convolution {
    /// Its variable is `weight`.
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: Conv2dConfig,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let weight = variables.convolution([outputs, kernel, kernel, inputs], "weight")?;
        Ok(Self { weight, rounded: RoundedCopy::default(), config })
    }

    /// The weight (O, K, K, I) as `run` uses it on `x`, in the type of its elements.
    pub(crate) fn weight(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.rounded.of(&self.weight, x.dtype(), run.mode.tracks_weights())
    }

    pub(crate) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        conv2d(x, &self.weight(x, run)?, self.config, run.arithmetic)
    }

    /// The output behind the norm with `ReLU` that is `folded` into this convolution.
    pub(crate) fn forward_folded(
        &self,
        x: &Tensor,
        folded: &FoldedNorm,
        run: &Run<'_, '_>,
    ) -> Result<Tensor> {
        folded.conv2d_relu(x, self.config, run.arithmetic)
    }

    /// The convolution's output added to `residual`.
    pub(crate) fn forward_add(&self, x: &Tensor, residual: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        conv2d_add(x, &self.weight(x, run)?, self.config, residual, run.arithmetic)
    }

    /// (O, K, K, I).
    pub(crate) fn shape(&self) -> &[usize] {
        self.weight.dims()
    }

    /// Output size and multiply-adds for an input of `size` (height, width).
    pub(crate) fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let kernel = self.weight.dims()[1];
        let out = size.map(|size| self.config.output_size(size, kernel).unwrap_or(0));
        (out, (out[0] * out[1]) as u64 * self.weight.elem_count() as u64)
    }
}

/// Output size and multiply-adds of `convolutions`, one after the other, for an input of `size`
/// (height, width).
pub(crate) fn cost_of<'a>(
    convolutions: impl IntoIterator<Item = &'a Convolution>,
    size: [usize; 2],
) -> ([usize; 2], u64) {
    convolutions.into_iter().fold((size, 0), |(size, total), convolution| {
        let (out, cost) = convolution.cost(size);
        (out, total + cost)
    })
}

/// Batch norm.
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

/// Added to the variance before its root is taken.
const EPS: f32 = 1e-5;
/// Share of a batch's statistics in the new running ones.
const MOMENTUM: f64 = 0.1;

impl Norm {
    /// Its variables are `weight`, `bias`, `running_mean` and `running_var`.
    pub(crate) fn new(channels: usize, variables: &Variables<'_>) -> Result<Self> {
        use ParameterKind::{NormBias, NormWeight, RunningStatistic};
        let get = |name, kind, value| variables.constant(channels, name, kind, value);
        Ok(Self {
            weight: get("weight", NormWeight, 1.0)?,
            bias: get("bias", NormBias, 0.0)?,
            running_mean: get("running_mean", RunningStatistic, 0.0)?,
            running_var: get("running_var", RunningStatistic, 1.0)?,
        })
    }

    /// The normalised `x` without an activation. Nothing else may read `x` later.
    pub(crate) fn forward(&self, x: Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.apply(&x.clone(), run, |norm| batch_norm_in_place(x, norm))
    }

    /// The normalised `x` plus `residual`, then `ReLU`. Nothing else may read `x` later.
    pub(crate) fn forward_add_relu(&self, x: Tensor, residual: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.apply(&x.clone(), run, |norm| batch_norm_add_relu_in_place(x, norm, residual))
    }

    /// Calls `operation` with the parameters, and with the statistics that normalise `x`.
    fn apply<R>(
        &self,
        x: &Tensor,
        run: &Run<'_, '_>,
        operation: impl FnOnce(BatchNorm<'_>) -> Result<R>,
    ) -> Result<R> {
        let (statistics, source) = self.statistics(x, run)?;
        let (weight, bias) = (run.mode.weight(&self.weight), run.mode.weight(&self.bias));
        operation(BatchNorm { weight: &weight, bias: &bias, statistics: &statistics, source, eps: EPS })
    }

    /// The statistics that normalise `x` in this mode.
    fn statistics(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<(BatchStatistics, StatisticsSource)> {
        Ok(match &*run.mode {
            Mode::Evaluation | Mode::FixedStatistics => {
                let mean = self.running_mean.detach();
                let variance = self.running_var.detach();
                (BatchStatistics::new(mean, variance), StatisticsSource::Running)
            }
            Mode::BatchStatistics => (of_batch(x, run)?, StatisticsSource::Batch),
            Mode::Training { .. } | Mode::Repeated { .. } => {
                let statistics = of_batch(x, run)?;
                if run.repeated {
                    return Ok((statistics, StatisticsSource::Batch));
                }
                let pixels = x.elem_count() / self.weight.elem_count();
                let all = run.deal.as_ref().map_or(pixels, |deal| pixels / x.dims()[0] * deal.total());
                self.update_running(&statistics, all)?;
                (statistics, StatisticsSource::Batch)
            }
        })
    }

    /// Moves the running statistics towards those of a batch of `count` pixels. The running
    /// variance is unbiased, as in PyTorch. The variance of a single pixel counts as zero.
    fn update_running(&self, statistics: &BatchStatistics, count: usize) -> Result<()> {
        let unbiased = count as f64 / (count.max(2) - 1) as f64;
        let running = [&self.running_mean, &self.running_var];
        move_running_statistics(running, statistics, MOMENTUM, unbiased)
    }
}

/// The statistics of the batch of which `x` is this process's part.
fn of_batch(x: &Tensor, run: &Run<'_, '_>) -> Result<BatchStatistics> {
    run.deal.as_ref().map_or_else(|| batch_statistics(x), |deal| dealt_statistics(x, deal))
}

/// Batch norm followed by `ReLU`.
pub(crate) struct NormRelu(Norm);

impl NormRelu {
    /// Its variables are those of [`Norm`].
    pub(crate) fn new(channels: usize, variables: &Variables<'_>) -> Result<Self> {
        Norm::new(channels, variables).map(Self)
    }

    /// The activated `x`. Nothing else may read `x` later.
    pub(crate) fn forward(&self, x: Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.0.apply(&x.clone(), run, |norm| batch_norm_relu_in_place(x, norm))
    }

    /// The activated output of `convolution` on `x`.
    pub(crate) fn forward_behind(
        &self,
        convolution: &Convolution,
        x: &Tensor,
        run: &Run<'_, '_>,
    ) -> Result<Tensor> {
        Chain::of(x).then(convolution, self, run)?.finish(run)
    }

    /// This layer folded into `convolution`, which reads `x`, where that is possible and of use. In f32 it
    /// is not: single kernels for both are rare, and a folded weight rounds differently from PyTorch.
    pub(crate) fn folded_into(
        &self,
        convolution: &Convolution,
        x: &Tensor,
        run: &Run<'_, '_>,
    ) -> Result<Option<FoldedNorm>> {
        if x.dtype() != DType::BF16 || !matches!(*run.mode, Mode::Evaluation) {
            return Ok(None);
        }
        self.0.apply(x, run, |norm| FoldedNorm::new(&convolution.weight.detach(), norm, x.dtype()))
    }

    /// The activated `x`, which keeps its values.
    pub(crate) fn forward_keeping(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.0.apply(x, run, |BatchNorm { weight, bias, statistics, source, eps }| {
            batch_norm_relu(x, weight, bias, statistics, source, eps)
        })
    }

    /// This layer and then `convolution`. Nothing else may read `x` later.
    pub(crate) fn convolve(&self, x: Tensor, convolution: &Convolution, run: &Run<'_, '_>) -> Result<Tensor> {
        let weight = convolution.weight(&x, run)?;
        self.0.apply(&x.clone(), run, |norm| {
            batch_norm_relu_conv2d_in_place(x, norm, &weight, convolution.config, run.arithmetic)
        })
    }

    /// This layer and then `convolution` on `x`, which keeps its values.
    pub(crate) fn convolve_keeping(
        &self,
        x: &Tensor,
        convolution: &Convolution,
        run: &Run<'_, '_>,
    ) -> Result<Tensor> {
        let weight = convolution.weight(x, run)?;
        self.0.apply(x, run, |norm| {
            batch_norm_relu_conv2d(x, norm, &weight, convolution.config, run.arithmetic)
        })
    }

    /// This layer on `x`, which keeps its values, then `convolution` and the norm with `ReLU` that is
    /// `folded` into it.
    pub(crate) fn convolve_folded(
        &self,
        x: &Tensor,
        convolution: &Convolution,
        folded: &FoldedNorm,
        run: &Run<'_, '_>,
    ) -> Result<Tensor> {
        self.0.apply(x, run, |norm| {
            folded.batch_norm_relu_conv2d_relu(x, norm, convolution.config, run.arithmetic)
        })
    }
}
