//! Pyramid pooling (Zhao et al. 2017).

use crate::layer::{Convolution, NormRelu};
use crate::{Pass, PspNetConfig};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use robustseg_ops::{Conv2dConfig, adaptive_avg_pool2d};

/// Regions on each side of the pyramid's levels.
pub(crate) const BINS: [usize; 4] = [1, 2, 3, 6];

/// The means of a map over 1, 4, 9 and 36 regions, each level through a 1x1 convolution.
pub(crate) struct Pyramid {
    branches: Vec<(Convolution, NormRelu)>,
}

/// A map beside its means: what a head reads.
pub(crate) struct Pooled {
    /// The map (N, h, w, 32 width).
    pub(crate) map: Tensor,
    /// Its means (N, 50, 8 width), one level after the other.
    pub(crate) means: Tensor,
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
        Ok(Self { branches: (0..BINS.len()).map(branch).collect::<Result<_>>()? })
    }

    pub(crate) fn forward(&self, x: Tensor, pass: &Pass<'_>) -> Result<Pooled> {
        let means = Tensor::cat(&self.levels(&x, pass)?, 1)?;
        Ok(Pooled { map: x, means })
    }

    /// The means over the regions of each level, through the level's convolution: (N, bins squared, 8 width) each.
    fn levels(&self, x: &Tensor, pass: &Pass<'_>) -> Result<Vec<Tensor>> {
        let means = adaptive_avg_pool2d(x, &BINS)?;
        let (images, _, channels) = means.dims3()?;
        let mut start = 0;
        let level = |(bins, (conv, norm)): (&usize, &(Convolution, NormRelu))| {
            let means = means.narrow(1, start, bins * bins)?.reshape((images, *bins, *bins, channels))?;
            start += bins * bins;
            norm.forward(&conv.forward(&means, pass)?, pass)?.flatten(1, 2)
        };
        BINS.iter().zip(&self.branches).map(level).collect()
    }

    pub(crate) fn cost(&self) -> u64 {
        BINS.iter().zip(&self.branches).map(|(bins, (conv, _))| conv.cost([*bins; 2]).1).sum()
    }
}
