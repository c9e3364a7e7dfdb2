//! A block of the encoder: attention with spatial reduction, then the Mix-FFN.

use crate::blocks;
use crate::run::Run;
use crate::transformer_layer::{BiasedConvolution, Depthwise, LayerNorm};
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, attention, concatenate, conv2d_bias, gelu, weight_for};

/// Added to the variances of all layer norms.
pub(super) const EPS: f32 = 1e-5;
/// Channels of the Mix-FFN's hidden map, per channel of the block.
pub(super) const EXPANSION: usize = 4;

/// A block with residual connections around attention and Mix-FFN.
pub(super) struct Block {
    norms: [LayerNorm; 2],
    query: BiasedConvolution,
    key: BiasedConvolution,
    value: BiasedConvolution,
    reduction: Option<(BiasedConvolution, LayerNorm)>,
    output: BiasedConvolution,
    dense: [BiasedConvolution; 2],
    depthwise: Depthwise,
    heads: usize,
    width: usize,
    drop: f64,
}

impl Block {
    /// A block of `width` channels whose branches are left out with probability `drop`.
    pub(super) fn new(
        [width, heads, reduction]: [usize; 3],
        drop: f64,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let linear =
            |inputs, outputs, name: &str| BiasedConvolution::linear([inputs, outputs], &variables.at(name));
        let norm = |name: &str| LayerNorm::new(width, EPS, &variables.at(name));
        let reduction = (reduction > 1)
            .then(|| {
                let config = Conv2dConfig { stride: reduction, ..Conv2dConfig::default() };
                let variables = variables.at("attention.self.sr");
                let convolution = BiasedConvolution::new([width; 2], reduction, config, &variables)?;
                Result::Ok((convolution, norm("attention.self.layer_norm")?))
            })
            .transpose()?;
        let hidden = EXPANSION * width;
        Ok(Self {
            norms: [norm("layer_norm_1")?, norm("layer_norm_2")?],
            query: linear(width, width, "attention.self.query")?,
            key: linear(width, width, "attention.self.key")?,
            value: linear(width, width, "attention.self.value")?,
            reduction,
            output: linear(width, width, "attention.output.dense")?,
            dense: [linear(width, hidden, "mlp.dense1")?, linear(hidden, width, "mlp.dense2")?],
            depthwise: Depthwise::new(hidden, 3, &variables.at("mlp.dwconv.dwconv"))?,
            heads,
            width,
            drop,
        })
    }

    /// Attention of all pixels of `x` to those of the reduced map.
    fn attend(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let query = self.query.forward(x, run)?;
        let reduced = match &self.reduction {
            Some((convolution, norm)) => norm.forward(&convolution.forward(x, run)?, run)?,
            None => x.clone(),
        };
        // Keys and values are one product.
        let ([key, key_bias], [value, value_bias]) = (self.key.parameters(run), self.value.parameters(run));
        let weight = weight_for(&concatenate(&[key, value], 0)?, x.dtype())?;
        let bias = concatenate(&[key_bias, value_bias], 0)?;
        let key_value = conv2d_bias(&reduced, &weight, &bias, Conv2dConfig::default(), run.arithmetic)?;
        attention(&query, &key_value, self.heads)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(super) fn cost(&self, size: [usize; 2]) -> u64 {
        let (reduced, reduction) = match &self.reduction {
            Some((convolution, _)) => convolution.cost(size),
            None => (size, 0),
        };
        let [queries, keys] = [size, reduced].map(|[height, width]| (height * width) as u64);
        let products = queries.saturating_mul(keys).saturating_mul(2 * self.width as u64);
        let linear = |layer: &BiasedConvolution, size| layer.cost(size).1;
        let layers = linear(&self.query, size)
            + linear(&self.key, reduced)
            + linear(&self.value, reduced)
            + linear(&self.output, size)
            + linear(&self.dense[0], size)
            + linear(&self.dense[1], size)
            + self.depthwise.cost(size);
        products.saturating_add(layers).saturating_add(reduction)
    }
}

impl blocks::Block for Block {
    const TOGETHER: usize = 1;

    fn forward(&self, mut x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let attended = self.attend(&self.norms[0].forward(&x, run)?, run)?;
        x = self.output.forward_residual(&attended, &x, None, self.drop, run)?;
        let hidden = self.dense[0].forward(&self.norms[1].forward(&x, run)?, run)?;
        let hidden = gelu(&self.depthwise.forward(&hidden, run)?)?;
        self.dense[1].forward_residual(&hidden, &x, None, self.drop, run)
    }
}
