//! Pre-activation ResNet (He et al. 2016, *Identity Mappings*) at output stride 8, named and dilated as timm's
//! `resnetv2_50`.

use crate::config::divisible_by_eight;
use crate::layer::{Convolution, NormRelu};
use crate::{Pass, PspNetConfig};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use robustseg_ops::{Conv2dConfig, max_pool2d};

/// Stem, four stages and a last norm; (N, H, W, 3) to (N, H/8, W/8, 32 width).
pub(crate) struct ResNetV2 {
    stem: Convolution,
    stages: Vec<Vec<Bottleneck>>,
    norm: NormRelu,
}

/// Stride and dilations (first block, other blocks) of a stage.
struct Stage {
    stride: usize,
    first_dilation: usize,
    dilation: usize,
}

/// Output stride 8: the last two stages are dilated instead of strided; a dilated stage's first block keeps the
/// former stage's dilation.
const STAGES: [Stage; 4] = [
    Stage { stride: 1, first_dilation: 1, dilation: 1 },
    Stage { stride: 2, first_dilation: 1, dilation: 1 },
    Stage { stride: 1, first_dilation: 1, dilation: 2 },
    Stage { stride: 1, first_dilation: 2, dilation: 4 },
];

impl ResNetV2 {
    pub(crate) fn new(config: &PspNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let channels = config.channels();
        let seven = Conv2dConfig { stride: 2, padding: 3, dilation: 1 };
        let stem = Convolution::new(3, channels[0], 7, seven, &vb.pp("stem.conv"))?;
        let mut stages = Vec::new();
        for (s, stage) in STAGES.iter().enumerate() {
            let mut blocks = Vec::new();
            for b in 0..config.layers[s] {
                let vb = vb.pp(format!("stages.{s}.blocks.{b}"));
                blocks.push(if b == 0 {
                    let conv = Conv2dConfig {
                        stride: stage.stride,
                        padding: stage.first_dilation,
                        dilation: stage.first_dilation,
                    };
                    Bottleneck::new(channels[s], channels[s + 1], conv, true, &vb)?
                } else {
                    let conv = Conv2dConfig { stride: 1, padding: stage.dilation, dilation: stage.dilation };
                    Bottleneck::new(channels[s + 1], channels[s + 1], conv, false, &vb)?
                });
            }
            stages.push(blocks);
        }
        Ok(Self { stem, stages, norm: NormRelu::new(channels[4], &vb.pp("norm"))? })
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let mut x = max_pool2d(&self.stem.forward(x, pass)?, 3, 2, 1)?;
        for block in self.stages.iter().flatten() {
            x = block.forward(&x, pass)?;
        }
        self.norm.forward(&x, pass)
    }

    pub(crate) fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let (size, mut total) = self.stem.cost(size);
        let mut size = size.map(|size| (size - 1) / 2 + 1);
        for block in self.stages.iter().flatten() {
            let (out, cost) = block.cost(size);
            size = out;
            total += cost;
        }
        (size, total)
    }
}

/// 1x1, 3x3 and 1x1 convolutions, each behind norm and `ReLU`, added to the block's input.
struct Bottleneck {
    norms: [NormRelu; 3],
    convs: [Convolution; 3],
    /// Where channels or size change, the shortcut is a 1x1 convolution behind the first norm.
    downsample: Option<Convolution>,
}

impl Bottleneck {
    fn new(
        inputs: usize,
        outputs: usize,
        conv: Conv2dConfig,
        downsample: bool,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let middle = divisible_by_eight(outputs / 4);
        let one = Conv2dConfig::default();
        Ok(Self {
            norms: [
                NormRelu::new(inputs, &vb.pp("norm1"))?,
                NormRelu::new(middle, &vb.pp("norm2"))?,
                NormRelu::new(middle, &vb.pp("norm3"))?,
            ],
            convs: [
                Convolution::new(inputs, middle, 1, one, &vb.pp("conv1"))?,
                Convolution::new(middle, middle, 3, conv, &vb.pp("conv2"))?,
                Convolution::new(middle, outputs, 1, one, &vb.pp("conv3"))?,
            ],
            downsample: downsample
                .then(|| {
                    let one = Conv2dConfig { stride: conv.stride, ..one };
                    Convolution::new(inputs, outputs, 1, one, &vb.pp("downsample.conv"))
                })
                .transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let [norm1, norm2, norm3] = &self.norms;
        let [conv1, conv2, conv3] = &self.convs;
        let (y, shortcut) = match &self.downsample {
            Some(conv) => {
                let activated = norm1.forward(x, pass)?;
                (conv1.forward(&activated, pass)?, conv.forward(&activated, pass)?)
            }
            None => (norm1.convolve(x, conv1, pass)?, x.clone()),
        };
        let y = norm2.convolve(&y, conv2, pass)?;
        conv3.forward_add(&norm3.forward(&y, pass)?, &shortcut, pass)
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let shortcut = self.downsample.as_ref().map_or(0, |conv| conv.cost(size).1);
        let (size, first) = self.convs[0].cost(size);
        let (size, second) = self.convs[1].cost(size);
        let (size, third) = self.convs[2].cost(size);
        (size, shortcut + first + second + third)
    }
}
