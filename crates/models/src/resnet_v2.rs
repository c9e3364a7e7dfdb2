//! Pre-activation ResNet (He et al. 2016, *Identity Mappings*) at output stride 8, named and
//! dilated as timm's `resnetv2_50`.

use crate::blocks::{Block, Blocks};
use crate::chain::Chain;
use crate::dilation::Dilation;
use crate::layer::{Convolution, NormRelu, cost_of};
use crate::layers::Maps;
use crate::run::Run;
use crate::trunk::{Kept, Stages, Trunk, scales, stage_maps};
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, max_pool2d};

/// Channels of the stem and of the four stages of a network of `width`.
pub(crate) fn channels(width: usize) -> [usize; 5] {
    [1, 4, 8, 16, 32].map(|factor| divisible_by_eight(factor * width))
}

/// The nearest multiple of eight, at least eight and at least nine tenths of `channels`: timm's
/// rule for the channels of stem, stages and bottlenecks.
fn divisible_by_eight(channels: usize) -> usize {
    let nearest = ((channels + 4) / 8 * 8).max(8);
    if nearest * 10 < channels * 9 { nearest + 8 } else { nearest }
}

/// Stem, four stages and a last norm; (N, H, W, 3) to (N, H/8, W/8, 32 width).
pub(crate) struct ResNetV2 {
    stem: Convolution,
    stages: Vec<Blocks<Bottleneck>>,
    norm: NormRelu,
    channels: [usize; 5],
}

impl ResNetV2 {
    /// A network of `layers` blocks in its four stages.
    pub(crate) fn new(layers: [usize; 4], width: usize, variables: &Variables<'_>) -> Result<Self> {
        let channels = channels(width);
        let seven = Conv2dConfig { stride: 2, padding: 3, dilation: 1 };
        let stem = Convolution::new(3, channels[0], 7, seven, &variables.at("stem.conv"))?;
        let mut stages = Vec::new();
        for (s, stage) in Dilation::Delayed.stages().into_iter().enumerate() {
            let mut blocks = Vec::new();
            for b in 0..layers[s] {
                let variables = variables.at(&format!("stages.{s}.blocks.{b}"));
                blocks.push(if b == 0 {
                    let conv = Conv2dConfig {
                        stride: stage.stride,
                        padding: stage.first_dilation,
                        dilation: stage.first_dilation,
                    };
                    Bottleneck::new(channels[s], channels[s + 1], conv, true, &variables)?
                } else {
                    let conv = Conv2dConfig { stride: 1, padding: stage.dilation, dilation: stage.dilation };
                    Bottleneck::new(channels[s + 1], channels[s + 1], conv, false, &variables)?
                });
            }
            stages.push(blocks.into_iter().collect());
        }
        Ok(Self { stem, stages, norm: NormRelu::new(channels[4], &variables.at("norm"))?, channels })
    }
}

impl Trunk for ResNetV2 {
    fn forward(&self, x: &Tensor, third: bool, run: &mut Run<'_, '_>) -> Result<Stages> {
        let x = max_pool2d(&self.stem.forward(x, run)?, 3, 2, 1)?;
        let Stages { third, fourth } = Stages::of(&self.stages, x, third, run)?;
        Ok(Stages { third, fourth: self.norm.forward(fourth, run)? })
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let (size, mut total) = self.stem.cost(size);
        let mut size = size.map(|size| (size - 1) / 2 + 1);
        for block in self.stages.iter().flat_map(|stage| &**stage) {
            let (out, cost) = block.cost(size);
            size = out;
            total += cost;
        }
        (size, total)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let stem = scales(size)[0].saturating_mul(self.channels[0] as u64);
        let layers = [0, 1, 2, 3].map(|stage| self.stages[stage].len());
        // In each block two maps of a quarter of the channels and one of all; in the first block
        // also the shortcut's.
        stage_maps(size, stem, self.channels, layers, Kept { block: 3, shortcut: 2 }, Bottleneck::TOGETHER)
    }
}

/// 1x1, 3x3 and 1x1 convolutions, each after norm and `ReLU`, added to the block's input.
struct Bottleneck {
    norms: [NormRelu; 3],
    convs: [Convolution; 3],
    /// Where channels or size change, the shortcut is a 1x1 convolution after the first norm.
    downsample: Option<Convolution>,
}

impl Bottleneck {
    fn new(
        inputs: usize,
        outputs: usize,
        conv: Conv2dConfig,
        downsample: bool,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let middle = divisible_by_eight(outputs / 4);
        let one = Conv2dConfig::default();
        Ok(Self {
            norms: [
                NormRelu::new(inputs, &variables.at("norm1"))?,
                NormRelu::new(middle, &variables.at("norm2"))?,
                NormRelu::new(middle, &variables.at("norm3"))?,
            ],
            convs: [
                Convolution::new(inputs, middle, 1, one, &variables.at("conv1"))?,
                Convolution::new(middle, middle, 3, conv, &variables.at("conv2"))?,
                Convolution::new(middle, outputs, 1, one, &variables.at("conv3"))?,
            ],
            downsample: downsample
                .then(|| {
                    let one = Conv2dConfig { stride: conv.stride, ..one };
                    Convolution::new(inputs, outputs, 1, one, &variables.at("downsample.conv"))
                })
                .transpose()?,
        })
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let shortcut = self.downsample.as_ref().map_or(0, |conv| conv.cost(size).1);
        let (size, convs) = cost_of(&self.convs, size);
        (size, shortcut + convs)
    }
}

impl Block for Bottleneck {
    const TOGETHER: usize = 2;

    fn forward(&self, x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let [norm1, norm2, norm3] = &self.norms;
        let [conv1, conv2, conv3] = &self.convs;
        let (y, shortcut) = match &self.downsample {
            Some(conv) => {
                let activated = norm1.forward_keeping(&x, run)?;
                (Chain::of(&activated).then(conv1, norm2, run)?, conv.forward(&activated, run)?)
            }
            None => (Chain::before(&x, norm1).then(conv1, norm2, run)?, x),
        };
        let y = y.then(conv2, norm3, run)?.finish(run)?;
        conv3.forward_add(&y, &shortcut, run)
    }
}
