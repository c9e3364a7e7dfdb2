//! Post-activation `ResNet` (He et al. 2016, *Deep Residual Learning*) of bottlenecks at output
//! stride 8, with the stride in the 3x3 convolutions.
//!
//! Variables have torchvision's names: `conv1.weight`, `bn1.*`, and for block B of stage S
//! `layerS.B.{conv1,conv2,conv3}.weight`, `layerS.B.{bn1,bn2,bn3}.*`,
//! `layerS.0.downsample.0.weight` and `layerS.0.downsample.1.*`, with S from 1 and B from 0. A deep
//! stem is `conv1`, `bn1`, `conv2`, `bn2`, `conv3` and `bn3`, as in semseg's files of backbones.

use crate::blocks::{Block, Blocks};
use crate::chain::Chain;
use crate::dilation::{Dilation, Stage};
use crate::layer::{Convolution, Norm, NormRelu, cost_of};
use crate::layers::Maps;
use crate::run::Run;
use crate::trunk::{Kept, Stages, Trunk, scales, stage_maps};
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, max_pool2d};

/// The layers before the max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stem {
    /// One 7x7 convolution.
    Single,
    /// Three 3x3 convolutions, the last with twice the channels.
    Deep,
}

/// Channels of the stem and of the four stages of a network of `width`.
pub(crate) fn channels(width: usize, stem: Stem) -> [usize; 5] {
    let stem = match stem {
        Stem::Single => width,
        Stem::Deep => 2 * width,
    };
    [stem, 4 * width, 8 * width, 16 * width, 32 * width]
}

/// Stem and four stages; (N, H, W, 3) to (N, H/8, W/8, 32 width).
pub(crate) struct ResNetV1 {
    stem: Vec<(Convolution, NormRelu)>,
    stages: Vec<Blocks<Bottleneck>>,
    channels: [usize; 5],
}

impl ResNetV1 {
    /// A network of `layers` blocks in its four stages.
    pub(crate) fn new(
        stem: Stem,
        layers: [usize; 4],
        width: usize,
        dilation: Dilation,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let channels = channels(width, stem);
        let three = |stride| (3, Conv2dConfig { stride, padding: 1, dilation: 1 });
        let seven = (7, Conv2dConfig { stride: 2, padding: 3, dilation: 1 });
        let stem = match stem {
            Stem::Single => vec![(3, width, seven)],
            Stem::Deep => vec![(3, width, three(2)), (width, width, three(1)), (width, 2 * width, three(1))],
        };
        let unit = |(index, (inputs, outputs, (kernel, config))): (usize, (usize, usize, _))| {
            let [conv, norm] = ["conv", "bn"].map(|name| variables.at(&format!("{name}{}", index + 1)));
            Result::Ok((
                Convolution::new(inputs, outputs, kernel, config, &conv)?,
                NormRelu::new(outputs, &norm)?,
            ))
        };
        let stem = stem.into_iter().enumerate().map(unit).collect::<Result<_>>()?;
        let stage = |(s, stage): (usize, Stage)| {
            let block = |b: usize| {
                let variables = variables.at(&format!("layer{}.{b}", s + 1));
                let (inputs, stride, dilation) = match b {
                    0 => (channels[s], stage.stride, stage.first_dilation),
                    _ => (channels[s + 1], 1, stage.dilation),
                };
                let conv = Conv2dConfig { stride, padding: dilation, dilation };
                Bottleneck::new(inputs, channels[s + 1], conv, b == 0, &variables)
            };
            (0..layers[s]).map(block).collect::<Result<_>>()
        };
        let stages = dilation.stages().into_iter().enumerate().map(stage).collect::<Result<_>>()?;
        Ok(Self { stem, stages, channels })
    }

    /// The input of the first stage.
    fn pooled_stem(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let mut y = Chain::of(x);
        for (conv, norm) in &self.stem {
            y = y.then(conv, norm, run)?;
        }
        max_pool2d(&y.finish(run)?, 3, 2, 1)
    }
}

impl Trunk for ResNetV1 {
    fn forward(&self, x: &Tensor, third: bool, run: &mut Run<'_, '_>) -> Result<Stages> {
        let x = self.pooled_stem(x, run)?;
        Stages::of(&self.stages, x, third, run)
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let (mut size, mut total) = cost_of(self.stem.iter().map(|(conv, _)| conv), size);
        size = size.map(|size| (size - 1) / 2 + 1);
        for block in self.stages.iter().flat_map(|stage| &**stage) {
            let (out, cost) = block.cost(size);
            (size, total) = (out, total + cost);
        }
        (size, total)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let [half, quarter, _] = scales(size);
        // The outputs of the convolutions, the last norm's and the pooled map.
        let convolutions: usize = self.stem.iter().map(|(conv, _)| conv.shape()[0]).sum();
        let stem = half.saturating_mul((convolutions + self.channels[0]) as u64);
        let stem = stem.saturating_add(quarter.saturating_mul(self.channels[0] as u64));
        let layers = [0, 1, 2, 3].map(|stage| self.stages[stage].len());
        // In each block two maps of a quarter of the channels and two of all; in the first block
        // also the shortcut before and after its norm.
        stage_maps(size, stem, self.channels, layers, Kept { block: 5, shortcut: 4 }, Bottleneck::TOGETHER)
    }
}

/// 1x1, 3x3 and 1x1 convolutions, each before a norm. `ReLU` follows the first two norms, and the
/// sum of the third and the shortcut.
struct Bottleneck {
    convs: [Convolution; 3],
    relus: [NormRelu; 2],
    norm: Norm,
    /// Where channels or size change, the shortcut is a 1x1 convolution and a norm.
    downsample: Option<(Convolution, Norm)>,
}

impl Bottleneck {
    fn new(
        inputs: usize,
        outputs: usize,
        conv: Conv2dConfig,
        downsample: bool,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let middle = outputs / 4;
        let one = Conv2dConfig::default();
        let shortcut = || {
            let one = Conv2dConfig { stride: conv.stride, ..one };
            let convolution = Convolution::new(inputs, outputs, 1, one, &variables.at("downsample.0"))?;
            Result::Ok((convolution, Norm::new(outputs, &variables.at("downsample.1"))?))
        };
        Ok(Self {
            convs: [
                Convolution::new(inputs, middle, 1, one, &variables.at("conv1"))?,
                Convolution::new(middle, middle, 3, conv, &variables.at("conv2"))?,
                Convolution::new(middle, outputs, 1, one, &variables.at("conv3"))?,
            ],
            relus: [
                NormRelu::new(middle, &variables.at("bn1"))?,
                NormRelu::new(middle, &variables.at("bn2"))?,
            ],
            norm: Norm::new(outputs, &variables.at("bn3"))?,
            downsample: downsample.then(shortcut).transpose()?,
        })
    }

    fn shortcut(&self, x: Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        match &self.downsample {
            Some((conv, norm)) => norm.forward(conv.forward(&x, run)?, run),
            None => Ok(x),
        }
    }

    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64) {
        let shortcut = self.downsample.as_ref().map_or(0, |(conv, _)| conv.cost(size).1);
        let (size, convs) = cost_of(&self.convs, size);
        (size, shortcut + convs)
    }
}

impl Block for Bottleneck {
    const TOGETHER: usize = 2;

    fn forward(&self, x: Tensor, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let y = Chain::of(&x).then(&self.convs[0], &self.relus[0], run)?;
        let shortcut = self.shortcut(x, run)?;
        let y = y.then(&self.convs[1], &self.relus[1], run)?.convolve(&self.convs[2], run)?;
        self.norm.forward_add_relu(y, &shortcut, run)
    }
}
