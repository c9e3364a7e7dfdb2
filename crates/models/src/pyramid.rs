//! Pyramid pooling and the head behind it (Zhao et al. 2017).

use crate::layer::{Convolution, NormRelu};
use crate::{Pass, PspNetConfig};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use robustseg_ops::{Alignment, Conv2dConfig, adaptive_avg_pool2d, upsample_bilinear};

/// Regions on each side of the pyramid's levels.
const BINS: [usize; 4] = [1, 2, 3, 6];

/// (N, h, w, 32 width) to (N, h, w, 8 width): the map beside its means over 1, 4, 9 and 36 regions, each
/// through a 1x1 convolution, then a 3x3 convolution over all of them.
pub(crate) struct Pyramid {
    branches: Vec<(Convolution, NormRelu)>,
    head: Convolution,
    head_norm: NormRelu,
    alignment: Alignment,
}

impl Pyramid {
    pub(crate) fn new(config: &PspNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let (inputs, channels) = (config.channels()[4], config.head_channels());
        let branch = |index: usize| {
            let vb = vb.pp(format!("psp.branches.{index}"));
            let one = Conv2dConfig::default();
            Result::Ok((
                Convolution::new(inputs, channels, 1, one, &vb.pp("conv"))?,
                NormRelu::new(channels, &vb.pp("norm"))?,
            ))
        };
        let three = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let all = inputs + BINS.len() * channels;
        Ok(Self {
            branches: (0..BINS.len()).map(branch).collect::<Result<_>>()?,
            head: Convolution::new(all, channels, 3, three, &vb.pp("head.conv"))?,
            head_norm: NormRelu::new(channels, &vb.pp("head.norm"))?,
            alignment: config.upsampling.into(),
        })
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let (_, height, width, _) = x.dims4()?;
        let mut maps = vec![x.clone()];
        for (bins, (conv, norm)) in BINS.iter().zip(&self.branches) {
            let pooled = conv.forward(&adaptive_avg_pool2d(x, *bins)?, pass)?;
            let level = norm.forward(&pooled, pass)?;
            maps.push(upsample_bilinear(&level, height, width, self.alignment)?);
        }
        self.head_norm.forward(&self.head.forward(&Tensor::cat(&maps, 3)?, pass)?, pass)
    }

    pub(crate) fn cost(&self, size: [usize; 2]) -> u64 {
        let levels = BINS.iter().zip(&self.branches).map(|(bins, (conv, _))| conv.cost([*bins; 2]).1);
        levels.sum::<u64>() + self.head.cost(size).1
    }
}
