//! SegFormer (Xie et al. 2021).
//!
//! Variables have the names of the authors' checkpoints as the hub has them, with two changes: the
//! encoder's prefix `segformer.encoder.` is `backbone.` here, and the weights of linear layers
//! (O, I) have two further axes of size 1 in files, (O, I, 1, 1). In the names of the library's
//! modules, which its files do not use, `stages.S.patch_embeddings` is `patch_embeddings.S` here,
//! `stages.S.blocks` `block.S`, `stages.S.layer_norm` `layer_norm.S`, `q_proj` to `v_proj`
//! `self.query` to `self.value`, `o_proj` `output.dense`, `sequence_reduction.sequence_reduction`
//! `self.sr`, `sequence_reduction.layer_norm` `self.layer_norm`, `layernorm_before` and `_after`
//! `layer_norm_1` and `_2`, `fc1` and `fc2` `dense1` and `dense2`, and `linear_projections`
//! `linear_c`.

mod block;
mod encoder;
mod head;
mod settings;

use self::encoder::Encoder;
use self::head::Head;
pub use self::settings::{SegFormerConfig, SegFormerSize};
use crate::Error;
use crate::layers::{Heads, Layers, Maps, Settings, within};
use crate::run::Run;
use crate::transformer_layer::within_drop_path;
use crate::variables::Variables;
use candle_core::{Result, Tensor};

impl Settings for SegFormerConfig {
    fn validate(&self) -> crate::Result<()> {
        self.depths.iter().try_for_each(|&depth| within("depths", depth, 256))?;
        self.widths.iter().try_for_each(|&width| within("widths", width, 4096))?;
        self.heads.iter().try_for_each(|&heads| within("heads", heads, 256))?;
        self.reductions.iter().try_for_each(|&reduction| within("reductions", reduction, 64))?;
        within("decoder_channels", self.decoder_channels, 4096)?;
        if let Some((width, heads)) = self.widths.iter().zip(&self.heads).find(|(w, h)| *w % *h != 0) {
            let reason = format!("must divide the widths, found {heads} for a width of {width}");
            return Err(Error::Setting { field: "heads", reason });
        }
        within_drop_path(self.drop_path)
    }

    fn layers(&self, heads: &Heads<'_>, variables: &Variables<'_>) -> Result<Box<dyn Layers>> {
        let encoder = Encoder::new(self, &variables.backbone())?;
        let head = |outputs: usize, variables: &Variables<'_>| {
            let sizes = [self.decoder_channels, outputs];
            Head::new(self.widths, sizes, heads.alignment, &variables.at("decode_head"))
        };
        let mut all = vec![head(heads.classes, variables)?];
        for branch in heads.branches {
            all.push(head(branch.channels, &variables.at(&branch.name))?);
        }
        Ok(Box::new(SegFormer { encoder, heads: all }))
    }

    fn small() -> Self {
        let (widths, reductions) = ([8, 8, 16, 16], [4, 2, 2, 1]);
        let b0 = Self::default();
        Self { depths: [1; 4], widths, heads: [1, 2, 2, 2], reductions, decoder_channels: 16, ..b0 }
    }

    fn scale(&self) -> (&'static str, usize) {
        ("widths", self.widths[3])
    }

    fn smallest_image(&self) -> usize {
        // A map has to be as large as the kernel that reduces it. Stage s works at 1/4 / 2^s.
        let needed = |(stage, reduction): (usize, &usize)| (reduction - 1) * (4 << stage) + 1;
        self.reductions.iter().enumerate().map(needed).max().unwrap_or(1)
    }
}

/// Encoder and heads of one shape: the main one and the branches.
struct SegFormer {
    encoder: Encoder,
    heads: Vec<Head>,
}

impl Layers for SegFormer {
    fn forward(&self, x: &Tensor, heads: usize, run: &mut Run<'_, '_>) -> Result<Vec<Tensor>> {
        let maps = self.encoder.forward(x, run)?;
        self.heads.iter().take(heads).map(|head| head.forward(&maps, run)).collect()
    }

    fn multiply_adds(&self, size: [usize; 2]) -> u64 {
        let (sizes, encoder) = self.encoder.cost(size);
        encoder + self.heads[0].cost(&sizes)
    }

    fn maps(&self, size: [usize; 2]) -> Maps {
        let mut maps = self.encoder.maps(size);
        let (sizes, _) = self.encoder.cost(size);
        let head = self.heads[0].map(sizes[0]);
        // The fused map, before and after its norm.
        maps.largest = maps.largest.max(head.saturating_mul(2));
        maps.and_kept(head.saturating_mul(2 * self.heads.len() as u64))
    }
}
