//! The head: pyramid pooling, a feature pyramid, and the fusion of its levels.

use super::unit::Unit;
use crate::run::Run;
use crate::transformer_layer::BiasedConvolution;
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::{
    Alignment, Conv2dConfig, adaptive_avg_pool2d, concatenate, conv2d, conv2d_pyramid, conv2d_upsampled_add,
    part, upsample_bilinear_add,
};

/// Regions along each side of the pyramid's levels.
const BINS: [usize; 4] = [1, 2, 3, 6];
/// Maps that the backbone gives.
const MAPS: usize = 4;

/// Four maps to logits at the size of the first. Pyramid pooling reads the last map. The others pass
/// a 1x1 convolution, get the upsampled map above them added, and pass a 3x3 convolution. Another
/// one fuses all four at the size of the first. Dropout of whole channels follows in training, then
/// a classifier of each pixel.
///
/// As upsampling is linear, the fusing convolution reads the small maps themselves
/// ([`conv2d_upsampled_add`]), which leaves a third of its multiply-adds.
pub(super) struct Head {
    pyramid: Vec<Unit>,
    bottleneck: Unit,
    laterals: Vec<Unit>,
    smoothing: Vec<Unit>,
    fusion: Unit,
    classifier: BiasedConvolution,
    alignment: Alignment,
    channels: usize,
}

impl Head {
    /// A head with `channels` and logits of `outputs` channels, for maps of `dims` channels.
    pub(super) fn new(
        dims: [usize; MAPS],
        [channels, outputs]: [usize; 2],
        alignment: Alignment,
        variables: &Variables<'_>,
    ) -> Result<Self> {
        let at = |name: String| variables.at(&name);
        let last = dims[MAPS - 1];
        let level = |index: usize| Unit::new([last, channels], 1, &at(format!("psp_modules.{index}.1")));
        let lateral =
            |index: usize| Unit::new([dims[index], channels], 1, &at(format!("lateral_convs.{index}")));
        let smooth = |index: usize| Unit::new([channels; 2], 3, &at(format!("fpn_convs.{index}")));
        let pooled = last + BINS.len() * channels;
        Ok(Self {
            pyramid: (0..BINS.len()).map(level).collect::<Result<_>>()?,
            bottleneck: Unit::new([pooled, channels], 3, &variables.at("bottleneck"))?,
            laterals: (0..MAPS - 1).map(lateral).collect::<Result<_>>()?,
            smoothing: (0..MAPS - 1).map(smooth).collect::<Result<_>>()?,
            fusion: Unit::new([MAPS * channels, channels], 3, &variables.at("fpn_bottleneck"))?,
            classifier: BiasedConvolution::linear([channels, outputs], &variables.at("classifier"))?,
            alignment,
            channels,
        })
    }

    pub(super) fn forward(&self, maps: &[Tensor], run: &mut Run<'_, '_>) -> Result<Tensor> {
        let Some((last, others)) = maps.split_last() else {
            candle_core::bail!("expected the maps of four stages, found none");
        };
        let mut above = self.pooled(last, run)?;
        // From the last map to the first.
        let mut levels = vec![above.clone()];
        for (index, map) in others.iter().enumerate().rev() {
            let lateral = self.laterals[index].forward(map, run)?;
            above = upsample_bilinear_add(&above, &lateral, self.alignment)?;
            levels.push(self.smoothing[index].forward(&above, run)?);
        }
        let x = self.fusion.norm.forward(self.fused(&levels, run)?, run)?;
        let x = run.dropout(&x)?;
        self.classifier.forward_wide(&x, run)
    }

    /// The last map together with its means over 1, 4, 9 and 36 regions.
    fn pooled(&self, x: &Tensor, run: &Run<'_, '_>) -> Result<Tensor> {
        let means = adaptive_avg_pool2d(x, &BINS)?;
        let (images, _, channels) = means.dims3()?;
        let (mut levels, mut start) = (Vec::new(), 0);
        for (bins, unit) in BINS.iter().zip(&self.pyramid) {
            let level = part(&means, 1, start, bins * bins)?.reshape((images, *bins, *bins, channels))?;
            start += bins * bins;
            levels.push(unit.forward(&level, run)?.flatten(1, 2)?);
        }
        let weight = self.bottleneck.convolution.weight(x, run)?;
        let levels = concatenate(&levels, 1)?;
        let y = conv2d_pyramid(x, &levels, &weight, &BINS, self.alignment, run.arithmetic)?;
        self.bottleneck.norm.forward(y, run)
    }

    /// The fusing convolution of `levels`, the last map's first.
    fn fused(&self, levels: &[Tensor], run: &Run<'_, '_>) -> Result<Tensor> {
        let Some((largest, smaller)) = levels.split_last() else {
            candle_core::bail!("expected four levels, found none");
        };
        let weight = self.fusion.convolution.weight(largest, run)?;
        let own = |index: usize| part(&weight, 3, index * self.channels, self.channels);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let mut sum = conv2d(largest, &own(0)?, config, run.arithmetic)?;
        for (index, level) in smaller.iter().rev().enumerate() {
            sum = conv2d_upsampled_add(level, &own(index + 1)?, &sum, self.alignment, run.arithmetic)?;
        }
        Ok(sum)
    }

    /// Multiply-adds for maps of `sizes` (height, width).
    pub(super) fn cost(&self, sizes: &[[usize; 2]]) -> u64 {
        let of = |unit: &Unit, size| unit.convolution.cost(size).1;
        let pixels = |size: [usize; 2]| (size[0] * size[1]) as u64;
        let [outputs, channels] = [0, 3].map(|axis| self.bottleneck.convolution.shape()[axis] as u64);
        let inputs = channels - BINS.len() as u64 * outputs;
        let positions: u64 = BINS.iter().map(|bins| (bins * bins) as u64).sum();
        let last = pixels(sizes[MAPS - 1]);
        let bottleneck = 9 * outputs * (last * (inputs + positions) + positions * outputs);
        let pyramid = BINS.iter().zip(&self.pyramid).map(|(bins, unit)| of(unit, [*bins; 2]));
        let laterals = self.laterals.iter().zip(sizes).map(|(unit, size)| of(unit, *size));
        let smoothing = self.smoothing.iter().zip(sizes).map(|(unit, size)| of(unit, *size));
        let fusion = sizes.iter().map(|size| 9 * outputs * outputs * pixels(*size));
        let layers = pyramid.chain(laterals).chain(smoothing).chain(fusion);
        layers.fold(bottleneck.saturating_add(self.classifier.cost(sizes[0]).1), u64::saturating_add)
    }

    /// Numbers of one map of the head for maps of `sizes` (height, width): at the size of the
    /// first, and at all sizes.
    pub(super) fn maps(&self, sizes: &[[usize; 2]]) -> [u64; 2] {
        let numbers = |[height, width]: [usize; 2]| (height * width) as u64 * self.channels as u64;
        [numbers(sizes[0]), sizes.iter().map(|size| numbers(*size)).sum()]
    }
}
