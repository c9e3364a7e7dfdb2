//! The head that turns pyramid features into logits.

use super::pyramid::{BINS, Pooled};
use crate::ParameterKind;
use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use crate::variables::Variables;
use candle_core::{DType, Result, Tensor};
use robustseg_ops::{Alignment, Conv2dConfig, add_bias, conv2d, conv2d_pyramid};

/// A map and its means to logits (N, h, w, channels). A 3x3 convolution reads the map concatenated
/// with the upsampled means; dropout of whole channels follows in training, then a classifier of
/// each pixel. As upsampling is linear, the convolution reads the means themselves
/// ([`conv2d_pyramid`]).
pub(super) struct Head {
    convolution: Convolution,
    norm: NormRelu,
    weight: Tensor,
    bias: Tensor,
    alignment: Alignment,
}

impl Head {
    /// A head with logits of `outputs` channels, for a map of `inputs` channels and means of
    /// `channels`. Its variables are `head.*` and `classifier.*`.
    pub(super) fn new(
        inputs: usize,
        channels: usize,
        outputs: usize,
        alignment: Alignment,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let all = inputs + BINS.len() * channels;
        let three = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let convolution = Convolution::new(all, channels, 3, three, &variables.at("head.conv"))?;
        let norm = NormRelu::new(channels, &variables.at("head.norm"))?;
        let variables = variables.at("classifier");
        Ok(Self {
            convolution,
            norm,
            weight: variables.convolution([outputs, 1, 1, channels], "weight")?,
            bias: variables.constant(outputs, "bias", ParameterKind::Bias, 0.0)?,
            alignment,
        })
    }

    pub(super) fn forward(&self, x: &Pooled, run: &mut Run<'_, '_>) -> Result<Tensor> {
        let features = self.features(x, run)?;
        let x = run.mode.dropout(&features)?;
        let weight = run.mode.weight(&self.weight).to_dtype(x.dtype())?;
        let logits = conv2d(&x, &weight, Conv2dConfig::default(), run.arithmetic)?;
        add_bias(&logits.to_dtype(DType::F32)?, &run.mode.weight(&self.bias))
    }

    /// The classifier's input (N, h, w, channels) before dropout.
    fn features(&self, x: &Pooled, run: &Run<'_, '_>) -> Result<Tensor> {
        let weight = self.convolution.weight(&x.map, run)?;
        let y = conv2d_pyramid(&x.map, &x.means, &weight, &BINS, self.alignment, run.arithmetic)?;
        self.norm.forward(&y, run)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(super) fn cost(&self, size: [usize; 2]) -> u64 {
        let [outputs, taps, channels] = [0, 1, 3].map(|axis| self.convolution.shape()[axis] as u64);
        let (taps, positions) = (taps * taps, BINS.iter().map(|bins| (bins * bins) as u64).sum::<u64>());
        let (pixels, level_channels) = ((size[0] * size[1]) as u64, outputs);
        let inputs = channels - BINS.len() as u64 * level_channels;
        let convolution = outputs * taps * (pixels * (inputs + positions) + positions * level_channels);
        convolution + pixels * self.weight.elem_count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;
    use crate::networks::pspnet::pyramid::Pyramid;
    use crate::variables::{Maker, Source};
    use candle_core::{Device, Var};
    use robustseg_ops::{Arithmetic, upsample_bilinear};

    /// The definition: the map beside the upsampled levels, convolved as one.
    fn concatenated(head: &Head, x: &Pooled, run: &Run<'_, '_>) -> Result<Tensor> {
        let (images, height, width, _) = x.map.dims4()?;
        let (mut maps, mut start) = (vec![x.map.clone()], 0);
        for bins in BINS {
            let level = x.means.narrow(1, start, bins * bins)?.reshape((images, bins, bins, ()))?;
            start += bins * bins;
            maps.push(upsample_bilinear(&level, height, width, head.alignment)?);
        }
        head.norm.forward(&head.convolution.forward(&Tensor::cat(&maps, 3)?, run)?, run)
    }

    fn distance(a: &Tensor, b: &Tensor) -> Result<f32> {
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        Ok(norm(&(a - b)?)? / norm(b)?.max(1e-12))
    }

    #[test]
    fn convolving_the_means_is_convolving_the_upsampled_maps() -> Result<()> {
        for alignment in [Alignment::HalfPixel, Alignment::AlignCorners] {
            let maker = Maker::new(Source::Seed(1), &Device::Cpu);
            let variables = maker.variables();
            let pyramid = Pyramid::new(128, 32, &variables)?;
            let head = Head::new(128, 32, 5, alignment, &variables)?;
            let made = maker.into_parameters();
            for (height, width) in [(9, 13), (4, 3)] {
                let mut random = robustseg_random::stream(1, "map", [0; 3]);
                let mut values = vec![0.0; 2 * height * width * 128];
                robustseg_random::standard_normal(&mut random, &mut values);
                let x = Tensor::from_vec::<_, f32>(values, (2, height, width, 128), &Device::Cpu)?;
                let x = Var::from_tensor(&x)?;
                let mode = &mut Mode::Training { dropout: 0.0, random: &mut random };
                let run = Run { mode, arithmetic: Arithmetic::default() };
                let pooled = pyramid.forward(x.as_tensor().clone(), &run)?;
                let (ours, plain) = (head.features(&pooled, &run)?, concatenated(&head, &pooled, &run)?);
                assert!(distance(&ours, &plain)? < 1e-5);
                let (ours, plain) = (ours.sqr()?.backward()?, plain.sqr()?.backward()?);
                for var in made.values().map(|parameter| &parameter.var).chain([&x]) {
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
