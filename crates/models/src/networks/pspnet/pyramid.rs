//! Pyramid pooling (Zhao et al. 2017).

use crate::layer::{Convolution, NormRelu};
use crate::pooled::Pooled;
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, adaptive_avg_pool2d, concatenate, part};

/// Regions along each side of the pyramid's levels.
pub(super) const BINS: [usize; 4] = [1, 2, 3, 6];

/// The means of a map over 1, 4, 9 and 36 regions, each level through a 1x1 convolution.
pub(super) struct Pyramid {
    branches: Vec<(Convolution, NormRelu)>,
}

impl Pyramid {
    /// A pyramid that reads maps of `inputs` channels; each level has `channels`.
    pub(super) fn new(inputs: usize, channels: usize, variables: &Variables<'_>) -> Result<Self> {
        let branch = |index: usize| {
            let variables = variables.at(&format!("psp.branches.{index}"));
            let one = Conv2dConfig::default();
            Result::Ok((
                Convolution::new(inputs, channels, 1, one, &variables.at("conv"))?,
                NormRelu::new(channels, &variables.at("norm"))?,
            ))
        };
        Ok(Self { branches: (0..BINS.len()).map(branch).collect::<Result<_>>()? })
    }

    pub(super) fn forward(&self, x: Tensor, run: &Run<'_, '_>) -> Result<Pooled> {
        let means = concatenate(&self.levels(&x, run)?, 1)?;
        Ok(Pooled { map: x, means })
    }

    /// The means over the regions of each level, through the level's convolution: (N, bins squared,
    /// D) each.
    fn levels(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Vec<Tensor>> {
        let means = adaptive_avg_pool2d(x, &BINS)?;
        let (images, _, channels) = means.dims3()?;
        let mut start = 0;
        let level = |(bins, (conv, norm)): (&usize, &(Convolution, NormRelu))| {
            let means = part(&means, 1, start, bins * bins)?.reshape((images, *bins, *bins, channels))?;
            start += bins * bins;
            norm.forward_behind(conv, &means, run)?.flatten(1, 2)
        };
        BINS.iter().zip(&self.branches).map(level).collect()
    }

    /// Multiply-adds for one image of any size.
    pub(super) fn cost(&self) -> u64 {
        BINS.iter().zip(&self.branches).map(|(bins, (conv, _))| conv.cost([*bins; 2]).1).sum()
    }
}
