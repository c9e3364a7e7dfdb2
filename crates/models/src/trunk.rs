//! What a network needs of a convolutional backbone.

use crate::blocks::{Block, Blocks};
use crate::layers::Maps;
use crate::run::Run;
use candle_core::{Result, Tensor};

/// The layers of a backbone.
pub(crate) trait Trunk: Send + Sync {
    /// The maps of `x` (N, H, W, 3), with that of the third stage if `third`.
    fn forward(&self, x: &Tensor, third: bool, run: &mut Run<'_, '_>) -> Result<Stages>;

    /// Output size and multiply-adds for an image of `size` (height, width).
    fn cost(&self, size: [usize; 2]) -> ([usize; 2], u64);

    /// What one image of `size` (height, width) occupies.
    fn maps(&self, size: [usize; 2]) -> Maps;
}

/// The maps of an image, an eighth of its size.
pub(crate) struct Stages {
    /// Of the third stage (N, h, w, 16 width), which auxiliary heads read. A ResNet v2's is the sum
    /// before the next norm.
    pub(crate) third: Option<Tensor>,
    /// Of the fourth and last stage (N, h, w, 32 width).
    pub(crate) fourth: Tensor,
}

impl Stages {
    /// The maps of `x` after four `stages`, with that of the third one if `third`. Others go as soon as
    /// they are read.
    pub(crate) fn of<B: Block>(
        stages: &[Blocks<B>],
        mut x: Tensor,
        third: bool,
        run: &mut Run<'_, '_>,
    ) -> Result<Self> {
        let mut of_third = None;
        for (index, stage) in stages.iter().enumerate() {
            if index == 3 {
                of_third = third.then(|| x.clone());
            }
            x = stage.forward(x, run)?;
        }
        Ok(Self { third: of_third, fourth: x })
    }
}

/// Pixels of maps of half, a quarter and an eighth of an image's sides.
pub(crate) fn scales(size: [usize; 2]) -> [u64; 3] {
    let halved = |size: [u64; 2]| size.map(|side| side.div_ceil(2));
    let half = halved(size.map(|side| side as u64));
    let quarter = halved(half);
    [half, quarter, halved(quarter)].map(|[height, width]| height.saturating_mul(width))
}

/// Maps that the blocks of a stage keep, in halves of the stage's output.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// Of each block.
    pub(crate) block: u64,
    /// Of the first block in addition.
    pub(crate) shortcut: u64,
}

/// What the four stages occupy for one image of `size`, with `stem` numbers kept before them.
/// `channels` are those of the stem and of the stages, which have `layers` blocks. So many blocks
/// `together` are computed again at a time.
pub(crate) fn stage_maps(
    size: [usize; 2],
    stem: u64,
    channels: [usize; 5],
    layers: [usize; 4],
    each: Kept,
    together: usize,
) -> Maps {
    let [_, quarter, eighth] = scales(size);
    let channels = channels.map(|channels| channels as u64);
    let (mut kept, mut largest) = (stem, 0);
    // The input of each part that is computed again, the last stage's output, and the largest part.
    let (mut inputs, mut part) = (eighth.saturating_mul(channels[4]), 0);
    for (stage, &blocks) in layers.iter().enumerate() {
        let pixels = if stage == 0 { quarter } else { eighth };
        let [input, output] = [channels[stage], channels[stage + 1]];
        let of_blocks =
            |blocks: usize| pixels.saturating_mul(output * (each.block * blocks as u64 + each.shortcut) / 2);
        kept = kept.saturating_add(of_blocks(blocks));
        let between = (blocks.div_ceil(together) - 1) as u64 * output;
        inputs = inputs.saturating_add(pixels.saturating_mul(input + between));
        part = part.max(of_blocks(blocks.min(together)));
        // A block's input and output. A stage's only block reads the output of the stage before.
        let pair = output + if blocks > 1 { output } else { input };
        largest = largest.max(pixels.saturating_mul(pair));
    }
    Maps { kept, recomputed: stem.saturating_add(inputs).saturating_add(part), largest }
}
