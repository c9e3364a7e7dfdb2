//! Pyramid pooling and the head behind it (Zhao et al. 2017).

use crate::layer::{Convolution, NormRelu};
use crate::{Pass, PspNetConfig};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use robustseg_ops::{Alignment, Conv2dConfig, adaptive_avg_pool2d, conv2d_pyramid};

/// Regions on each side of the pyramid's levels.
const BINS: [usize; 4] = [1, 2, 3, 6];

/// (N, h, w, 32 width) to (N, h, w, 8 width): the map beside its means over 1, 4, 9 and 36 regions, each
/// through a 1x1 convolution, then a 3x3 convolution over all of them, the means upsampled. As the upsampling is linear,
/// the convolution is done on the means themselves ([`conv2d_pyramid`]).
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
        let levels = Tensor::cat(&self.levels(x, pass)?, 1)?;
        let y = conv2d_pyramid(x, &levels, &self.head.weight(x, pass)?, &BINS, self.alignment)?;
        self.head_norm.forward(&y, pass)
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

    pub(crate) fn cost(&self, size: [usize; 2]) -> u64 {
        let levels = BINS.iter().zip(&self.branches).map(|(bins, (conv, _))| conv.cost([*bins; 2]).1);
        let [outputs, taps, channels] = [0, 1, 3].map(|axis| self.head.shape()[axis] as u64);
        let (taps, positions) = (taps * taps, BINS.iter().map(|bins| (bins * bins) as u64).sum::<u64>());
        let (pixels, level_channels) = ((size[0] * size[1]) as u64, outputs);
        let inputs = channels - BINS.len() as u64 * level_channels;
        let head = outputs * taps * (pixels * (inputs + positions) + positions * level_channels);
        levels.sum::<u64>() + head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::{Source, Variables};
    use candle_core::{DType, Device, Var};
    use candle_nn::VarMap;
    use robustseg_ops::upsample_bilinear;
    use std::sync::Arc;

    /// The definition: the map beside the upsampled levels, convolved as one.
    fn concatenated(pyramid: &Pyramid, x: &Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let (_, height, width, _) = x.dims4()?;
        let mut maps = vec![x.clone()];
        for (level, bins) in pyramid.levels(x, pass)?.iter().zip(BINS) {
            let level = level.reshape((x.dim(0)?, bins, bins, ()))?;
            maps.push(upsample_bilinear(&level, height, width, pyramid.alignment)?);
        }
        pyramid.head_norm.forward(&pyramid.head.forward(&Tensor::cat(&maps, 3)?, pass)?, pass)
    }

    fn distance(a: &Tensor, b: &Tensor) -> Result<f32> {
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        Ok(norm(&(a - b)?)? / norm(b)?.max(1e-12))
    }

    #[test]
    fn convolving_the_means_is_convolving_the_upsampled_maps() -> Result<()> {
        for upsampling in [crate::Upsampling::HalfPixel, crate::Upsampling::AlignCorners] {
            let config = PspNetConfig { width: 4, upsampling, ..PspNetConfig::pspnet50(5) };
            let made = VarMap::new();
            let variables =
                Variables { source: Source::Seed(1), made: made.clone(), trainable: Arc::default() };
            let vb = VarBuilder::from_backend(Box::new(variables), DType::F32, Device::Cpu);
            let pyramid = Pyramid::new(&config, &vb)?;
            for (height, width) in [(9, 13), (4, 3)] {
                let mut random = robustseg_random::stream(1, "map", [0; 3]);
                let mut values = vec![0.0; 2 * height * width * 128];
                robustseg_random::standard_normal(&mut random, &mut values);
                let x = Tensor::from_vec::<_, f32>(values, (2, height, width, 128), &Device::Cpu)?;
                let x = Var::from_tensor(&x)?;
                let pass = Pass::Training { dropout: 0.0, random: &mut random };
                let (ours, plain) = (pyramid.forward(&x, &pass)?, concatenated(&pyramid, &x, &pass)?);
                assert!(distance(&ours, &plain)? < 1e-5);
                let (ours, plain) = (ours.sqr()?.backward()?, plain.sqr()?.backward()?);
                for var in made.all_vars().iter().chain([&x]) {
                    if let Some(plain) = plain.get(var) {
                        let ours = ours.get(var).expect("a gradient where the definition has one");
                        assert!(distance(ours, plain)? < 1e-4);
                    }
                }
            }
        }
        Ok(())
    }
}
