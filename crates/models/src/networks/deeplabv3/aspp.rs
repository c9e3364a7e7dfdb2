//! Atrous spatial pyramid pooling (Chen et al. 2017, section 3.3).

use crate::layer::{Convolution, NormRelu};
use crate::pooled::Pooled;
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Conv2dConfig, adaptive_avg_pool2d, concatenate};

/// A 1x1 convolution, three dilated 3x3 ones, and a 1x1 one of the mean over the map, side by side.
pub(super) struct Aspp {
    branches: Vec<(Convolution, NormRelu)>,
    pool: (Convolution, NormRelu),
}

/// Branches that keep the size of the map.
pub(super) const BRANCHES: usize = 4;

impl Aspp {
    /// Reads maps of `inputs` channels; each branch has `channels`. Its variables are
    /// `branches.I.{conv,norm}.*` and `pool.{conv,norm}.*`.
    pub(super) fn new(
        inputs: usize,
        channels: usize,
        rates: [usize; BRANCHES - 1],
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let unit = |kernel: usize, config: Conv2dConfig, name: &str| {
            let variables = variables.at(name);
            let convolution = Convolution::new(inputs, channels, kernel, config, &variables.at("conv"))?;
            Result::Ok((convolution, NormRelu::new(channels, &variables.at("norm"))?))
        };
        let mut branches = vec![unit(1, Conv2dConfig::default(), "branches.0")?];
        for (index, rate) in rates.into_iter().enumerate() {
            let config = Conv2dConfig { stride: 1, padding: rate, dilation: rate };
            branches.push(unit(3, config, &format!("branches.{}", index + 1))?);
        }
        Ok(Self { branches, pool: unit(1, Conv2dConfig::default(), "pool")? })
    }

    /// The branches as one map, and the branch of the mean, which is the same everywhere.
    pub(super) fn forward(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Pooled> {
        let apply = |(conv, norm): &(Convolution, NormRelu), x: &Tensor| norm.forward_behind(conv, x, run);
        let maps = self.branches.iter().map(|branch| apply(branch, x)).collect::<Result<Vec<_>>>()?;
        let (images, _, _, channels) = x.dims4()?;
        let mean = adaptive_avg_pool2d(x, &[1])?.reshape((images, 1, 1, channels))?;
        let means = apply(&self.pool, &mean)?.flatten(1, 2)?;
        Ok(Pooled { map: concatenate(&maps, 3)?, means })
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(super) fn cost(&self, size: [usize; 2]) -> u64 {
        let branches: u64 = self.branches.iter().map(|(conv, _)| conv.cost(size).1).sum();
        branches + self.pool.0.cost([1, 1]).1
    }
}
