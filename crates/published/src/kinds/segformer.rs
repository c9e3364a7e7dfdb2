//! SegFormer of transformers.

use robustseg_models::SegFormerConfig;

use super::imagenet::imagenet;
use crate::kind::{Kind, Product, Shapes};
use crate::names::Rules;

/// The names that transformers 5 has in memory. Its files have those of version 4.
const IN_MEMORY: Rules = &[
    ("segformer.stages.{}.patch_embeddings.", "backbone.patch_embeddings.{}."),
    ("segformer.stages.{}.layer_norm.", "backbone.layer_norm.{}."),
    ("segformer.stages.{}.blocks.{}.layernorm_before.", "backbone.block.{}.{}.layer_norm_1."),
    ("segformer.stages.{}.blocks.{}.layernorm_after.", "backbone.block.{}.{}.layer_norm_2."),
    ("segformer.stages.{}.blocks.{}.attention.q_proj.", "backbone.block.{}.{}.attention.self.query."),
    ("segformer.stages.{}.blocks.{}.attention.k_proj.", "backbone.block.{}.{}.attention.self.key."),
    ("segformer.stages.{}.blocks.{}.attention.v_proj.", "backbone.block.{}.{}.attention.self.value."),
    ("segformer.stages.{}.blocks.{}.attention.o_proj.", "backbone.block.{}.{}.attention.output.dense."),
    (
        "segformer.stages.{}.blocks.{}.attention.sequence_reduction.sequence_reduction.",
        "backbone.block.{}.{}.attention.self.sr.",
    ),
    (
        "segformer.stages.{}.blocks.{}.attention.sequence_reduction.layer_norm.",
        "backbone.block.{}.{}.attention.self.layer_norm.",
    ),
    ("segformer.stages.{}.blocks.{}.mlp.dwconv.", "backbone.block.{}.{}.mlp.dwconv."),
    ("segformer.stages.{}.blocks.{}.mlp.fc1.", "backbone.block.{}.{}.mlp.dense1."),
    ("segformer.stages.{}.blocks.{}.mlp.fc2.", "backbone.block.{}.{}.mlp.dense2."),
    ("decode_head.linear_projections.", "decode_head.linear_c."),
];

pub(super) const TRANSFORMERS: Kind = Kind {
    name: "transformers-segformer",
    title: "SegFormer of transformers",
    product: Product::Checkpoint,
    spellings: &[&[
        &[
            ("segformer.encoder.", "backbone."),
            ("decode_head.linear_c.", "decode_head.linear_c."),
            ("decode_head.linear_fuse.", "decode_head.linear_fuse."),
            ("decode_head.batch_norm.", "decode_head.batch_norm."),
            ("decode_head.classifier.", "decode_head.classifier."),
        ],
        IN_MEMORY,
    ]],
    left: &[],
    network: |shapes| imagenet(segformer(shapes)),
};

fn segformer(shapes: &Shapes) -> SegFormerConfig {
    let published = SegFormerConfig::default();
    let depth = |stage| shapes.count(|block| format!("backbone.block.{stage}.{block}.layer_norm_1.weight"));
    let width = |stage: usize| {
        let patches = format!("backbone.patch_embeddings.{stage}.proj.weight");
        shapes.channels(&patches).unwrap_or(published.widths[stage])
    };
    // The side of the kernel for reducing keys and values. The last stage has none.
    let reduction = |stage: usize| {
        let kernel = shapes.0.get(&format!("backbone.block.{stage}.0.attention.self.sr.weight"));
        kernel.and_then(|shape| shape.last().copied()).unwrap_or(1)
    };
    let depths = [0, 1, 2, 3].map(depth);
    SegFormerConfig {
        depths: if depths.contains(&0) { published.depths } else { depths },
        widths: [0, 1, 2, 3].map(width),
        reductions: [0, 1, 2, 3].map(reduction),
        decoder_channels: shapes
            .channels("decode_head.linear_fuse.weight")
            .unwrap_or(published.decoder_channels),
        ..published
    }
}
