//! A head behind the pyramid.

use crate::layer::{Convolution, NormRelu};
use crate::pyramid::{BINS, Pooled};
use crate::{Pass, PspNetConfig};
use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use robustseg_ops::{Alignment, Conv2dConfig, add_bias, conv2d, conv2d_pyramid};

/// A map and its means to logits (N, h, w, classes): a 3x3 convolution to 8 width channels over the map beside the
/// upsampled means, dropout of whole channels in training, and a classifier of each pixel. As the upsampling is linear, the
/// convolution is done on the means themselves ([`conv2d_pyramid`]).
pub(crate) struct Head {
    convolution: Convolution,
    norm: NormRelu,
    weight: Tensor,
    bias: Tensor,
    alignment: Alignment,
}

impl Head {
    /// Its variables are `head.*` and `classifier.*` below `vb`.
    pub(crate) fn new(config: &PspNetConfig, classes: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let channels = config.head_channels();
        let all = config.channels()[4] + BINS.len() * channels;
        let three = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let convolution = Convolution::new(all, channels, 3, three, &vb.pp("head.conv"))?;
        let norm = NormRelu::new(channels, &vb.pp("head.norm"))?;
        let vb = vb.pp("classifier");
        let init = Init::Randn { mean: 0.0, stdev: (2.0 / channels as f64).sqrt() };
        Ok(Self {
            convolution,
            norm,
            weight: vb.get_with_hints((classes, 1, 1, channels), "weight", init)?,
            bias: vb.get_with_hints(classes, "bias", Init::Const(0.0))?,
            alignment: config.upsampling.into(),
        })
    }

    pub(crate) fn forward(&self, x: &Pooled, pass: &mut Pass<'_>) -> Result<Tensor> {
        let x = pass.dropout(&self.features(x, pass)?)?;
        let weight = pass.weight(&self.weight).to_dtype(x.dtype())?;
        let logits = conv2d(&x, &weight, Conv2dConfig::default())?.to_dtype(DType::F32)?;
        add_bias(&logits, &pass.weight(&self.bias))
    }

    /// What the classifier reads (N, h, w, 8 width), without dropout.
    fn features(&self, x: &Pooled, pass: &Pass<'_>) -> Result<Tensor> {
        let weight = self.convolution.weight(&x.map, pass)?;
        let y = conv2d_pyramid(&x.map, &x.means, &weight, &BINS, self.alignment)?;
        self.norm.forward(&y, pass)
    }

    /// Multiply-adds for a map of `size` (height, width).
    pub(crate) fn cost(&self, size: [usize; 2]) -> u64 {
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
    use crate::pyramid::Pyramid;
    use crate::variables::{Source, Variables};
    use candle_core::{Device, Var};
    use candle_nn::VarMap;
    use robustseg_ops::upsample_bilinear;
    use std::sync::Arc;

    /// The definition: the map beside the upsampled levels, convolved as one.
    fn concatenated(head: &Head, x: &Pooled, pass: &Pass<'_>) -> Result<Tensor> {
        let (images, height, width, _) = x.map.dims4()?;
        let (mut maps, mut start) = (vec![x.map.clone()], 0);
        for bins in BINS {
            let level = x.means.narrow(1, start, bins * bins)?.reshape((images, bins, bins, ()))?;
            start += bins * bins;
            maps.push(upsample_bilinear(&level, height, width, head.alignment)?);
        }
        head.norm.forward(&head.convolution.forward(&Tensor::cat(&maps, 3)?, pass)?, pass)
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
            let (pyramid, head) = (Pyramid::new(&config, &vb)?, Head::new(&config, 5, &vb)?);
            for (height, width) in [(9, 13), (4, 3)] {
                let mut random = robustseg_random::stream(1, "map", [0; 3]);
                let mut values = vec![0.0; 2 * height * width * 128];
                robustseg_random::standard_normal(&mut random, &mut values);
                let x = Tensor::from_vec::<_, f32>(values, (2, height, width, 128), &Device::Cpu)?;
                let x = Var::from_tensor(&x)?;
                let pass = Pass::Training { dropout: 0.0, random: &mut random };
                let pooled = pyramid.forward(x.as_tensor().clone(), &pass)?;
                let (ours, plain) = (head.features(&pooled, &pass)?, concatenated(&head, &pooled, &pass)?);
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
