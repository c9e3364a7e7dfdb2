//! A map next to its means over regions, and the convolution that reads both.

use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{Alignment, Conv2dConfig, conv2d_pyramid};

/// A map and its means over regions.
pub(crate) struct Pooled {
    /// The map (N, h, w, C).
    pub(crate) map: Tensor,
    /// The means (N, regions, D), one level after the other.
    pub(crate) means: Tensor,
}

/// Convolution, norm and `ReLU` on a map concatenated with its upsampled means. As upsampling is
/// linear, the convolution reads the means themselves ([`conv2d_pyramid`]).
pub(crate) struct PooledConvolution {
    convolution: Convolution,
    norm: NormRelu,
    /// Regions along each side of the levels.
    bins: &'static [usize],
    alignment: Alignment,
}

impl PooledConvolution {
    /// For a map of `inputs` channels and levels of `level_channels`, with a square `kernel`. Its
    /// variables are `conv.weight` and `norm.*`.
    pub(crate) fn new(
        [inputs, level_channels]: [usize; 2],
        outputs: usize,
        kernel: usize,
        bins: &'static [usize],
        alignment: Alignment,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let all = inputs + bins.len() * level_channels;
        let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
        Ok(Self {
            convolution: Convolution::new(all, outputs, kernel, config, &variables.at("conv"))?,
            norm: NormRelu::new(outputs, &variables.at("norm"))?,
            bins,
            alignment,
        })
    }

    /// (N, h, w, outputs).
    pub(crate) fn forward(&self, x: &Pooled, run: &Run<'_, '_>) -> Result<Tensor> {
        let weight = self.convolution.weight(&x.map, run)?;
        let y = conv2d_pyramid(&x.map, &x.means, &weight, self.bins, self.alignment, run.arithmetic)?;
        self.norm.forward(y, run)
    }

    /// Multiply-adds for a map of `size` (height, width) and levels of `level_channels`.
    pub(crate) fn cost(&self, size: [usize; 2], level_channels: usize) -> u64 {
        let [outputs, taps, channels] = [0, 1, 3].map(|axis| self.convolution.shape()[axis] as u64);
        let (pixels, level_channels) = ((size[0] * size[1]) as u64, level_channels as u64);
        let positions = self.bins.iter().map(|bins| (bins * bins) as u64).sum::<u64>();
        let inputs = channels - self.bins.len() as u64 * level_channels;
        outputs * taps * taps * (pixels * (inputs + positions) + positions * level_channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;
    use crate::variables::{Maker, Source};
    use candle_core::{Device, Var};
    use robustseg_ops::{Arithmetic, upsample_bilinear};

    /// The definition: the map next to the upsampled levels, convolved as one.
    fn concatenated(layer: &PooledConvolution, x: &Pooled, run: &Run<'_, '_>) -> Result<Tensor> {
        let (images, height, width, _) = x.map.dims4()?;
        let (mut maps, mut start) = (vec![x.map.clone()], 0);
        for bins in layer.bins {
            let level = x.means.narrow(1, start, bins * bins)?.reshape((images, *bins, *bins, ()))?;
            start += bins * bins;
            maps.push(upsample_bilinear(&level, height, width, layer.alignment)?);
        }
        layer.norm.forward(layer.convolution.forward(&Tensor::cat(&maps, 3)?, run)?, run)
    }

    fn distance(a: &Tensor, b: &Tensor) -> Result<f32> {
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        Ok(norm(&(a - b)?)? / norm(b)?.max(1e-12))
    }

    #[test]
    fn convolving_the_means_is_convolving_the_upsampled_maps() -> Result<()> {
        let mut random = robustseg_random::stream(1, "map", [0; 3]);
        for (alignment, bins, kernel) in [
            (Alignment::HalfPixel, &[1, 2, 3, 6][..], 3),
            (Alignment::AlignCorners, &[1, 2, 3, 6], 3),
            (Alignment::HalfPixel, &[1], 1),
        ] {
            let maker = Maker::new(Source::Seed(1), &Device::Cpu);
            let layer = PooledConvolution::new([24, 8], 16, kernel, bins, alignment, &maker.variables())?;
            let made = maker.into_parameters();
            let positions = bins.iter().map(|bins| bins * bins).sum();
            for (height, width) in [(9, 13), (4, 3)] {
                let mut draw = |shape: &[usize]| {
                    let mut values = vec![0.0_f32; shape.iter().product()];
                    robustseg_random::standard_normal(&mut random, &mut values);
                    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)
                };
                let (map, means) = (draw(&[2, height, width, 24])?, draw(&[2, positions, 8])?);
                let pooled = Pooled { map: map.as_tensor().clone(), means: means.as_tensor().clone() };
                let mut dropout = robustseg_random::stream(1, "dropout", [0; 3]);
                let mode = &mut Mode::Training { dropout: 0.0, random: &mut dropout };
                let run = Run {
                    mode,
                    arithmetic: Arithmetic::default(),
                    deal: None,
                    recompute: false,
                    repeated: false,
                };
                let (ours, plain) = (layer.forward(&pooled, &run)?, concatenated(&layer, &pooled, &run)?);
                assert!(distance(&ours, &plain)? < 1e-5);
                let (ours, plain) = (ours.sqr()?.backward()?, plain.sqr()?.backward()?);
                let trainable = made.values().filter(|parameter| parameter.is_trainable());
                for var in trainable.map(|parameter| &parameter.var).chain([&map, &means]) {
                    let [ours, plain] =
                        [&ours, &plain].map(|gradients| gradients.get(var).expect("a gradient"));
                    assert!(distance(ours, plain)? < 1e-4);
                }
            }
        }
        Ok(())
    }
}
