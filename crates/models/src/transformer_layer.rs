//! The layers that transformers and ConvNeXt are made of.

use crate::layers::Maps;
use crate::run::Run;
use crate::variables::Variables;
use crate::{Error, ParameterKind};
use candle_core::{DType, Result, Tensor};
use robustseg_ops::{
    Conv2dConfig, RoundedCopy, add_bias, contiguous, conv2d, conv2d_add, conv2d_bias, convert,
    depthwise_conv2d, layer_norm, scale_channels, scale_rows, weight_for,
};

/// A convolution with bias. With a kernel of one pixel it is a linear layer.
pub(crate) struct BiasedConvolution {
    weight: Tensor,
    rounded: RoundedCopy,
    bias: Tensor,
    config: Conv2dConfig,
}

impl BiasedConvolution {
    /// Its variables are `weight` and `bias`. The weight starts from normal numbers of variance 2 /
    /// fan-out.
    pub(crate) fn new(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        config: Conv2dConfig,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let deviation = (2.0 / (kernel * kernel * outputs) as f64).sqrt();
        Self::of([outputs, kernel, kernel, inputs], config, deviation, variables)
    }

    /// A linear layer. The weight starts from normal numbers of standard deviation 0.02.
    pub(crate) fn linear([inputs, outputs]: [usize; 2], variables: &Variables<'_>) -> Result<Self> {
        Self::of([outputs, 1, 1, inputs], Conv2dConfig::default(), 0.02, variables)
    }

    fn of(
        shape: [usize; 4],
        config: Conv2dConfig,
        deviation: f64,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let weight = variables.normal(shape, "weight", deviation)?;
        let bias = variables.constant(shape[0], "bias", ParameterKind::Bias, 0.0)?;
        Ok(Self { weight, rounded: RoundedCopy::default(), bias, config })
    }

    /// Weight and bias as `run` uses them, f32.
    pub(crate) fn parameters(&self, run: &Run<'_, '_>) -> [Tensor; 2] {
        [&self.weight, &self.bias].map(|tensor| run.mode.weight(tensor))
    }

    /// The weight as `run` uses it on `x`, in the type of its elements.
    fn weight(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        self.rounded.of(&self.weight, x.dtype(), run.mode.tracks_weights())
    }

    pub(crate) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let bias = run.mode.weight(&self.bias);
        conv2d_bias(x, &self.weight(x, run)?, &bias, self.config, run.arithmetic)
    }

    /// The output in f32, as logits are.
    pub(crate) fn forward_wide(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        if x.dtype() == DType::F32 {
            return self.forward(x, run);
        }
        let narrow = conv2d(x, &self.weight(x, run)?, self.config, run.arithmetic)?;
        add_bias(&convert(&narrow, DType::F32)?, &run.mode.weight(&self.bias))
    }

    /// `residual` plus the output, of which training leaves out whole images with probability
    /// `drop` (stochastic depth, Huang et al. 2016). A `scale` (C) multiplies the output's channels
    /// (layer scale, Touvron et al. 2021).
    pub(crate) fn forward_residual(
        &self,
        x: &Tensor,
        residual: &Tensor,
        scale: Option<&Tensor>,
        drop: f64,
        run: &mut Run<'_, '_>,
    ) -> Result<Tensor> {
        let [weight, bias] = match scale {
            None => [self.weight(x, run)?, run.mode.weight(&self.bias)],
            Some(scale) => {
                // Scaling the few weights is scaling the many outputs.
                let ([weight, bias], scale) = (self.parameters(run), run.mode.weight(scale));
                let weight = scale_rows(&weight, &scale)?;
                [weight_for(&weight, x.dtype())?, (bias * scale)?]
            }
        };
        let images = x.dims()[0];
        match run.factors(images, drop, x.device())? {
            None => add_bias(&conv2d_add(x, &weight, self.config, residual, run.arithmetic)?, &bias),
            Some(factors) => {
                let branch = conv2d_bias(x, &weight, &bias, self.config, run.arithmetic)?;
                let factors = factors.reshape((images, 1))?.broadcast_as((images, bias.elem_count()))?;
                let factors = contiguous(&factors)?;
                residual + scale_channels(&branch, &factors)?
            }
        }
    }

    /// Output size and multiply-adds for an input of `size` (height, width).
    pub(crate) fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let kernel = self.weight.dims()[1];
        let out = size.map(|size| self.config.output_size(size, kernel).unwrap_or(0));
        (out, (out[0] * out[1]) as u64 * self.weight.elem_count() as u64)
    }
}

/// Layer norm over channels.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Its variables are `weight` and `bias`. `eps` is added to the variance.
    pub(crate) fn new(channels: usize, eps: f32, variables: &Variables<'_>) -> Result<Self> {
        let weight = variables.constant(channels, "weight", ParameterKind::NormWeight, 1.0)?;
        let bias = variables.constant(channels, "bias", ParameterKind::NormBias, 0.0)?;
        Ok(Self { weight, bias, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        layer_norm(x, &run.mode.weight(&self.weight), &run.mode.weight(&self.bias), self.eps)
    }
}

/// A depthwise convolution with bias that keeps the size of the map.
pub(crate) struct Depthwise {
    weight: Tensor,
    bias: Tensor,
}

impl Depthwise {
    /// Its variables are `weight` and `bias`; `kernel` is odd.
    pub(crate) fn new(channels: usize, kernel: usize, variables: &Variables<'_>) -> Result<Self> {
        let deviation = (2.0 / (kernel * kernel) as f64).sqrt();
        let weight = variables.normal([channels, kernel, kernel, 1], "weight", deviation)?;
        let bias = variables.constant(channels, "bias", ParameterKind::Bias, 0.0)?;
        Ok(Self { weight, bias })
    }

    pub(crate) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let config = Conv2dConfig { padding: self.weight.dims()[1] / 2, ..Conv2dConfig::default() };
        let (weight, bias) = (run.mode.weight(&self.weight), run.mode.weight(&self.bias));
        depthwise_conv2d(x, &weight, &bias, config)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(crate) fn cost(&self, size: [usize; 2]) -> u64 {
        (size[0] * size[1]) as u64 * self.weight.elem_count() as u64
    }
}

/// The drop rate of block `index` of `count`: from 0 for the first to `rate` for the last.
pub(crate) fn drop_rate(rate: f64, index: usize, count: usize) -> f64 {
    rate * index as f64 / count.saturating_sub(1).max(1) as f64
}

/// Refuses `rate` unless it is a rate of stochastic depth.
pub(crate) fn within_drop_path(rate: f64) -> crate::Result<()> {
    if (0.0..1.0).contains(&rate) {
        return Ok(());
    }
    let reason = format!("must be at least 0 and below 1, found {rate}");
    Err(Error::Setting { field: "drop_path", reason })
}

/// What stages of residual blocks occupy for one image. `stages` are the numbers of each stage's map and
/// its blocks. A block keeps `kept` such maps, and its hidden map is `expansion` times as large. Blocks
/// are computed again one at a time.
pub(crate) fn stage_maps(stages: impl IntoIterator<Item = (u64, u64)>, kept: u64, expansion: u64) -> Maps {
    let (mut maps, mut part) = (Maps { kept: 0, recomputed: 0, largest: 0 }, 0);
    for (map, blocks) in stages {
        let block = map.saturating_mul(kept);
        // Before the blocks and after them.
        let outside = map.saturating_mul(3);
        maps.kept = maps.kept.saturating_add(block.saturating_mul(blocks)).saturating_add(outside);
        maps.recomputed = maps.recomputed.saturating_add(map.saturating_mul(blocks)).saturating_add(outside);
        // The residual, and the hidden map before and after an operation.
        maps.largest = maps.largest.max(map.saturating_mul(1 + 2 * expansion));
        part = part.max(block);
    }
    Maps { recomputed: maps.recomputed.saturating_add(part), ..maps }
}
