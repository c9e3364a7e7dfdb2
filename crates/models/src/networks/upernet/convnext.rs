//! ConvNeXt (Liu et al. 2022).

use super::settings::{ConvNeXtStem, UperNetConfig};
use crate::ParameterKind;
use crate::blocks::{self, Blocks};
use crate::layers::Maps;
use crate::run::Run;
use crate::transformer_layer::{BiasedConvolution, Depthwise, LayerNorm, drop_rate, stage_maps};
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, gelu};

/// Added to the variances of all layer norms.
const EPS: f32 = 1e-6;
/// Channels of a block's hidden map, per channel of the block.
const EXPANSION: usize = 4;
/// Start of factors that multiply the blocks' branches.
const LAYER_SCALE: f32 = 1e-6;

/// The backbone.
pub(super) struct ConvNeXt {
    stem: Stem,
    stages: Vec<Stage>,
    dims: [usize; 4],
}

enum Stem {
    Patches(BiasedConvolution, LayerNorm),
    Convolutions([(BiasedConvolution, LayerNorm); 2]),
}

/// Downsampling except in the first stage, blocks, and a norm of the output for the head.
struct Stage {
    downsampling: Option<(LayerNorm, BiasedConvolution)>,
    blocks: Blocks<Block>,
    norm: LayerNorm,
}

struct Block {
    depthwise: Depthwise,
    norm: LayerNorm,
    linear: [BiasedConvolution; 2],
    scale: Tensor,
    drop: f64,
}

impl ConvNeXt {
    pub(super) fn new(config: &UperNetConfig, variables: &Variables<'_>) -> Result<Self> {
        let count = config.depths.iter().sum();
        let at = |name: String| variables.at(&name);
        let mut before = 0;
        let mut stages = Vec::new();
        for (index, (&depth, &width)) in config.depths.iter().zip(&config.dims).enumerate() {
            let place = at(format!("encoder.stages.{index}"));
            let halve = Conv2dConfig { stride: 2, ..Conv2dConfig::default() };
            let downsampling = (index > 0)
                .then(|| {
                    let (inputs, place) = (config.dims[index - 1], place.at("downsampling_layer"));
                    let norm = LayerNorm::new(inputs, EPS, &place.at("0"))?;
                    Result::Ok((norm, BiasedConvolution::new([inputs, width], 2, halve, &place.at("1"))?))
                })
                .transpose()?;
            let block = |block: usize| {
                let drop = drop_rate(config.drop_path, before + block, count);
                Block::new(width, drop, &place.at(&format!("layers.{block}")))
            };
            let blocks = (0..depth).map(block).collect::<Result<_>>()?;
            let norm = LayerNorm::new(width, EPS, &at(format!("hidden_states_norms.stage{}", index + 1)))?;
            stages.push(Stage { downsampling, blocks, norm });
            before += depth;
        }
        let stem = Stem::new(config.stem, config.dims[0], &variables.at("embeddings"))?;
        Ok(Self { stem, stages, dims: config.dims })
    }

    /// The normalised maps of the four stages, at a quarter to a 32nd of the size of `x`.
    pub(super) fn forward(&self, x: &Tensor, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let mut x = self.stem.forward(x, run)?;
        let mut maps = Vec::new();
        for stage in &self.stages {
            if let Some((norm, convolution)) = &stage.downsampling {
                x = convolution.forward(&norm.forward(&x, run)?, run)?;
            }
            x = stage.blocks.forward(x, run)?;
            maps.push(stage.norm.forward(&x, run)?);
        }
        Ok(maps)
    }

    /// The sizes of the stages' maps, and multiply-adds, for an image of `size` (height, width).
    pub(super) fn cost(&self, size: [usize; 2]) -> (Vec<[usize; 2]>, u64) {
        let (mut size, mut total) = self.stem.cost(size);
        let mut sizes = Vec::new();
        for stage in &self.stages {
            if let Some((_, convolution)) = &stage.downsampling {
                let products;
                (size, products) = convolution.cost(size);
                total = total.saturating_add(products);
            }
            let blocks = stage.blocks.iter().map(|block| block.cost(size));
            total = blocks.fold(total, u64::saturating_add);
            sizes.push(size);
        }
        (sizes, total)
    }

    /// What one image of `size` (height, width) occupies.
    pub(super) fn maps(&self, size: [usize; 2]) -> Maps {
        let (sizes, _) = self.cost(size);
        let stages =
            self.stages.iter().zip(sizes).zip(self.dims).map(|((stage, [height, width]), channels)| {
                ((height * width) as u64 * channels as u64, stage.blocks.len() as u64)
            });
        // In each block the depthwise convolution, its norm, the sum, and the hidden map twice.
        stage_maps(stages, 3 + 2 * EXPANSION as u64, EXPANSION as u64)
    }
}

impl Stem {
    fn new(kind: ConvNeXtStem, width: usize, variables: &Variables<'_>) -> Result<Self> {
        match kind {
            ConvNeXtStem::Patches => {
                let config = Conv2dConfig { stride: 4, ..Conv2dConfig::default() };
                let place = variables.at("patch_embeddings");
                let patches = BiasedConvolution::new([3, width], 4, config, &place)?;
                Ok(Self::Patches(patches, LayerNorm::new(width, EPS, &variables.at("layernorm"))?))
            }
            ConvNeXtStem::Convolutions => {
                let config = Conv2dConfig { stride: 2, padding: 1, dilation: 1 };
                let layer = |inputs, outputs, first: usize| {
                    let at = |index: usize| variables.at(&format!("stem.{index}"));
                    let convolution = BiasedConvolution::new([inputs, outputs], 3, config, &at(first))?;
                    Result::Ok((convolution, LayerNorm::new(outputs, EPS, &at(first + 1))?))
                };
                Ok(Self::Convolutions([layer(3, width / 2, 0)?, layer(width / 2, width, 3)?]))
            }
        }
    }

    fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        match self {
            Self::Patches(patches, norm) => norm.forward(&patches.forward(x, run)?, run),
            Self::Convolutions(layers) => {
                let mut x = x.clone();
                for (convolution, norm) in layers {
                    x = gelu(&norm.forward(&convolution.forward(&x, run)?, run)?)?;
                }
                Ok(x)
            }
        }
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        match self {
            Self::Patches(patches, _) => patches.cost(size),
            Self::Convolutions([(first, _), (second, _)]) => {
                let (size, products) = first.cost(size);
                let (size, more) = second.cost(size);
                (size, products.saturating_add(more))
            }
        }
    }
}

impl Block {
    fn new(width: usize, drop: f64, variables: &Variables<'_>) -> Result<Self> {
        let hidden = EXPANSION * width;
        let linear = |sizes, name: &str| BiasedConvolution::linear(sizes, &variables.at(name));
        // It scales as the weight of a norm does, and is no more to be decayed than that.
        let kind = ParameterKind::NormWeight;
        Ok(Self {
            depthwise: Depthwise::new(width, 7, &variables.at("dwconv"))?,
            norm: LayerNorm::new(width, EPS, &variables.at("layernorm"))?,
            linear: [linear([width, hidden], "pwconv1")?, linear([hidden, width], "pwconv2")?],
            scale: variables.constant(width, "layer_scale_parameter", kind, LAYER_SCALE)?,
            drop,
        })
    }

    fn cost(&self, size: [usize; 2]) -> u64 {
        self.depthwise.cost(size) + self.linear.iter().map(|layer| layer.cost(size).1).sum::<u64>()
    }
}

impl blocks::Block for Block {
    const TOGETHER: usize = 1;

    fn forward(&self, x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let hidden = self.norm.forward(&self.depthwise.forward(&x, run)?, run)?;
        let hidden = gelu(&self.linear[0].forward(&hidden, run)?)?;
        self.linear[1].forward_residual(&hidden, &x, Some(&self.scale), self.drop, run)
    }
}
