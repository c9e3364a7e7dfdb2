//! The head of linear layers.

use crate::layer::{Convolution, NormRelu};
use crate::run::Run;
use crate::transformer_layer::BiasedConvolution;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{
    Alignment, Conv2dConfig, concatenate, contiguous, conv2d, conv2d_bias, part, upsample_bilinear_add,
    weight_for,
};

/// Four maps to logits at the size of the first. By definition each map passes a linear layer and is
/// upsampled to the size of the first; another linear layer fuses them, last map first. Norm,
/// `ReLU`, dropout of whole channels and a classifier of each pixel follow.
///
/// Linear layers and upsampling commute. The two linear layers are therefore multiplied with each
/// other, and the product is applied to the small maps, which saves most of the multiply-adds.
pub(super) struct Head {
    linear: Vec<BiasedConvolution>,
    fuse: Convolution,
    norm: NormRelu,
    classifier: BiasedConvolution,
    widths: [usize; 4],
    alignment: Alignment,
}

impl Head {
    /// A head with `channels` and logits of `outputs` channels, for maps of `widths` channels.
    pub(super) fn new(
        widths: [usize; 4],
        [channels, outputs]: [usize; 2],
        alignment: Alignment,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let linear = |(index, width): (usize, &usize)| {
            let variables = variables.at(&format!("linear_c.{index}.proj"));
            BiasedConvolution::linear([*width, channels], &variables)
        };
        let (all, one) = (widths.len() * channels, Conv2dConfig::default());
        Ok(Self {
            linear: widths.iter().enumerate().map(linear).collect::<Result<_>>()?,
            fuse: Convolution::new(all, channels, 1, one, &variables.at("linear_fuse"))?,
            norm: NormRelu::new(channels, &variables.at("batch_norm"))?,
            classifier: BiasedConvolution::linear([channels, outputs], &variables.at("classifier"))?,
            widths,
            alignment,
        })
    }

    pub(super) fn forward(&self, maps: &[Tensor], run: &mut Run<'_, '_>) -> Result<Tensor> {
        let x = self.norm.forward(self.fused(maps, run)?, run)?;
        let x = run.dropout(&x)?;
        self.classifier.forward_wide(&x, run)
    }

    /// The maps through both linear layers, summed at the size of the first.
    fn fused(&self, maps: &[Tensor], run: &Run<'_, '_>) -> Result<Tensor> {
        let Some((largest, smaller)) = maps.split_first() else {
            candle_core::bail!("expected the maps of four stages, found none");
        };
        let (mut products, mut bias) = (Vec::new(), None);
        for index in 0..maps.len() {
            let [product, shift] = self.product(index, run)?;
            products.push(weight_for(&product, largest.dtype())?);
            bias = Some(match bias {
                None => shift,
                Some(bias) => (bias + shift)?,
            });
        }
        let (Some(bias), one) = (bias, Conv2dConfig::default()) else {
            candle_core::bail!("expected the maps of four stages, found none");
        };
        let mut sum = conv2d_bias(largest, &products[0], &bias, one, run.arithmetic)?;
        for (map, product) in smaller.iter().zip(&products[1..]) {
            let map = conv2d(map, product, one, run.arithmetic)?;
            sum = upsample_bilinear_add(&map, &sum, self.alignment)?;
        }
        Ok(sum)
    }

    /// The product of the fusing layer's part for map `index` with that map's linear layer: weight
    /// (channels, 1, 1, width) and bias, f32.
    fn product(&self, index: usize, run: &Run<'_, '_>) -> Result<[Tensor; 2]> {
        let channels = self.fuse.shape()[0];
        let first = (self.linear.len() - 1 - index) * channels;
        let [weight, bias] = self.linear[index].parameters(run);
        // Every column of the weight, and the bias, is one pixel that the fusing layer reads.
        let columns = concatenate(&[weight.reshape((channels, ()))?, bias.reshape((channels, 1))?], 1)?;
        let pixels = contiguous(&columns.t()?)?.reshape((1, 1, (), channels))?;
        let fuse = part(&self.fuse.weight(&pixels, run)?, 3, first, channels)?;
        let products = conv2d(&pixels, &fuse, Conv2dConfig::default(), run.arithmetic)?;
        let products = products.reshape(((), channels))?;
        let width = self.widths[index];
        let weight = contiguous(&products.narrow(0, 0, width)?.t()?)?.reshape((channels, 1, 1, width))?;
        Ok([weight, products.get(width)?])
    }

    /// Multiply-adds for maps of `sizes` (height, width).
    pub(super) fn cost(&self, sizes: &[[usize; 2]]) -> u64 {
        let layers = self.linear.iter().zip(sizes).map(|(layer, size)| layer.cost(*size).1);
        let channels = self.fuse.shape()[0] as u64;
        let products = channels * channels * self.widths.iter().map(|width| *width as u64 + 1).sum::<u64>();
        layers.sum::<u64>() + products + self.classifier.cost(sizes[0]).1
    }

    /// Numbers of the fused map of `size` (height, width).
    pub(super) fn map(&self, [height, width]: [usize; 2]) -> u64 {
        ((height * width) as u64).saturating_mul(self.fuse.shape()[0] as u64)
    }
}
