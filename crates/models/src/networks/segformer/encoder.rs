//! The encoder: four stages of overlapping patches and blocks.

use super::SegFormerConfig;
use super::block::{Block, EPS, EXPANSION};
use crate::blocks::Blocks;
use crate::layers::Maps;
use crate::run::Run;
use crate::transformer_layer::{BiasedConvolution, LayerNorm, drop_rate, stage_maps};
use crate::variables::Variables;
use candle_core::{Result, Tensor};
use robustseg_ops::Conv2dConfig;

/// The Mix Transformer.
pub(super) struct Encoder {
    stages: Vec<Stage>,
    widths: [usize; 4],
}

/// Patches, blocks, and a norm of the stage's output.
struct Stage {
    patches: BiasedConvolution,
    patch_norm: LayerNorm,
    blocks: Blocks<Block>,
    norm: LayerNorm,
}

impl Encoder {
    pub(super) fn new(config: &SegFormerConfig, variables: &Variables<'_>) -> Result<Self> {
        let count = config.depths.iter().sum();
        let mut before = 0;
        let mut stages = Vec::new();
        for (index, &depth) in config.depths.iter().enumerate() {
            let width = config.widths[index];
            let (inputs, kernel, stride) =
                if index == 0 { (3, 7, 4) } else { (config.widths[index - 1], 3, 2) };
            let patch = Conv2dConfig { stride, padding: kernel / 2, dilation: 1 };
            let at = |name: String| variables.at(&name);
            let patches = at(format!("patch_embeddings.{index}"));
            let block = |block: usize| {
                let drop = drop_rate(config.drop_path, before + block, count);
                let sizes = [width, config.heads[index], config.reductions[index]];
                Block::new(sizes, drop, &at(format!("block.{index}.{block}")))
            };
            stages.push(Stage {
                patches: BiasedConvolution::new([inputs, width], kernel, patch, &patches.at("proj"))?,
                patch_norm: LayerNorm::new(width, EPS, &patches.at("layer_norm"))?,
                blocks: (0..depth).map(block).collect::<Result<_>>()?,
                norm: LayerNorm::new(width, EPS, &at(format!("layer_norm.{index}")))?,
            });
            before += depth;
        }
        Ok(Self { stages, widths: config.widths })
    }

    /// The maps of the four stages, at a quarter to a 32nd of the size of `x`.
    pub(super) fn forward(&self, x: &Tensor, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let mut x = x.clone();
        let mut maps = Vec::new();
        for stage in &self.stages {
            x = stage.patch_norm.forward(&stage.patches.forward(&x, run)?, run)?;
            x = stage.blocks.forward(x, run)?;
            x = stage.norm.forward(&x, run)?;
            maps.push(x.clone());
        }
        Ok(maps)
    }

    /// The sizes of the stages' maps, and multiply-adds, for an image of `size` (height, width).
    pub(super) fn cost(&self, mut size: [usize; 2]) -> (Vec<[usize; 2]>, u64) {
        let (mut sizes, mut total) = (Vec::new(), 0_u64);
        for stage in &self.stages {
            let patches;
            (size, patches) = stage.patches.cost(size);
            let blocks = stage.blocks.iter().map(|block| block.cost(size));
            total = blocks.fold(total.saturating_add(patches), u64::saturating_add);
            sizes.push(size);
        }
        (sizes, total)
    }

    /// What one image of `size` (height, width) occupies.
    pub(super) fn maps(&self, size: [usize; 2]) -> Maps {
        let (sizes, _) = self.cost(size);
        let stages =
            self.stages.iter().zip(sizes).zip(self.widths).map(|((stage, [height, width]), channels)| {
                ((height * width) as u64 * channels as u64, stage.blocks.len() as u64)
            });
        // In each block two norms, query, attention, two sums, and the hidden map three times.
        stage_maps(stages, 6 + 3 * EXPANSION as u64, EXPANSION as u64)
    }
}
