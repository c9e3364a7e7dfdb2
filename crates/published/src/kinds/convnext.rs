//! UPerNet on ConvNeXt, of transformers and of SEA's authors.

use robustseg_models::{ConvNeXtStem, NetworkSpec, UperNetConfig};

use super::imagenet::imagenet;
use crate::kind::{Kind, Product, Shapes};
use crate::names::Rules;

/// The head, whose names here are transformers'.
const HEAD: Rules = &[
    ("decode_head.psp_modules.", "decode_head.psp_modules."),
    ("decode_head.bottleneck.", "decode_head.bottleneck."),
    ("decode_head.lateral_convs.", "decode_head.lateral_convs."),
    ("decode_head.fpn_convs.", "decode_head.fpn_convs."),
    ("decode_head.fpn_bottleneck.", "decode_head.fpn_bottleneck."),
    ("decode_head.classifier.", "decode_head.classifier."),
];

pub(super) const TRANSFORMERS: Kind = Kind {
    name: "transformers-upernet-convnext",
    title: "UPerNet on ConvNeXt of transformers",
    product: Product::Checkpoint,
    spellings: &[&[
        &[
            ("backbone.embeddings.", "backbone.embeddings."),
            ("backbone.encoder.", "backbone.encoder."),
            ("backbone.hidden_states_norms.", "backbone.hidden_states_norms."),
        ],
        HEAD,
    ]],
    left: &["auxiliary_head."],
    network: |shapes| imagenet(upernet(shapes)),
};

pub(super) const SEA: Kind = Kind {
    name: "sea-upernet-convnext",
    title: "UPerNet on ConvNeXt of SEA's authors",
    product: Product::Checkpoint,
    spellings: &[&[
        &[
            ("backbone.downsample_layers.0.0.", "backbone.embeddings.patch_embeddings."),
            ("backbone.downsample_layers.0.1.", "backbone.embeddings.layernorm."),
            ("backbone.downsample_layers.0.stem.", "backbone.embeddings.stem."),
            ("backbone.downsample_layers.{}.", "backbone.encoder.stages.{}.downsampling_layer."),
            ("backbone.stages.{}.{}.norm.", "backbone.encoder.stages.{}.layers.{}.layernorm."),
            ("backbone.stages.{}.{}.gamma", "backbone.encoder.stages.{}.layers.{}.layer_scale_parameter"),
            ("backbone.stages.{}.{}.", "backbone.encoder.stages.{}.layers.{}."),
            ("backbone.norm0.", "backbone.hidden_states_norms.stage1."),
            ("backbone.norm1.", "backbone.hidden_states_norms.stage2."),
            ("backbone.norm2.", "backbone.hidden_states_norms.stage3."),
            ("backbone.norm3.", "backbone.hidden_states_norms.stage4."),
        ],
        HEAD,
    ]],
    left: &["auxiliary_head."],
    // Their networks read images in [0, 1] without normalising them.
    network: |shapes| NetworkSpec { mean: [0.0; 3], std: [1.0; 3], ..imagenet(upernet(shapes)) },
};

fn upernet(shapes: &Shapes) -> UperNetConfig {
    let published = UperNetConfig::default();
    let is_deep = shapes.channels("backbone.embeddings.stem.0.weight").is_some();
    let depth = |stage| {
        let name = |block| format!("backbone.encoder.stages.{stage}.layers.{block}.dwconv.weight");
        shapes.count(name)
    };
    let dim = |stage: usize| {
        let norm = format!("backbone.hidden_states_norms.stage{}.weight", stage + 1);
        shapes.channels(&norm).unwrap_or(published.dims[stage])
    };
    let depths = [0, 1, 2, 3].map(depth);
    UperNetConfig {
        depths: if depths.contains(&0) { published.depths } else { depths },
        dims: [0, 1, 2, 3].map(dim),
        stem: if is_deep { ConvNeXtStem::Convolutions } else { ConvNeXtStem::Patches },
        head_channels: shapes
            .channels("decode_head.fpn_bottleneck.conv.weight")
            .unwrap_or(published.head_channels),
        ..published
    }
}
