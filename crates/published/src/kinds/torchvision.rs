//! torchvision's networks.

use robustseg_models::{DeepLabV3Config, FcnConfig, PspNetConfig};

use super::imagenet::imagenet;
use super::resnet::ResNet;
use crate::kind::{Kind, Product};
use crate::names::Rules;

/// The backbone of a segmentation network.
const BACKBONE: Rules = &[
    ("backbone.conv1.", "backbone.conv1."),
    ("backbone.bn1.", "backbone.bn1."),
    ("backbone.layer1.", "backbone.layer1."),
    ("backbone.layer2.", "backbone.layer2."),
    ("backbone.layer3.", "backbone.layer3."),
    ("backbone.layer4.", "backbone.layer4."),
];

pub(super) const DEEPLABV3: Kind = Kind {
    name: "torchvision-deeplabv3",
    title: "DeepLabV3 of torchvision on ResNet50 or ResNet101",
    product: Product::Checkpoint,
    spellings: &[&[
        BACKBONE,
        &[
            ("classifier.0.convs.4.1.", "aspp.pool.conv."),
            ("classifier.0.convs.4.2.", "aspp.pool.norm."),
            ("classifier.0.convs.{}.0.", "aspp.branches.{}.conv."),
            ("classifier.0.convs.{}.1.", "aspp.branches.{}.norm."),
            ("classifier.0.project.0.", "aspp.project.conv."),
            ("classifier.0.project.1.", "aspp.project.norm."),
            ("classifier.1.", "head.conv."),
            ("classifier.2.", "head.norm."),
            ("classifier.4.", "classifier."),
        ],
    ]],
    left: &["aux_classifier."],
    network: |shapes| {
        let ResNet { backbone, layers, width } = ResNet::of(shapes, "backbone.");
        imagenet(DeepLabV3Config { layers, width, backbone, ..DeepLabV3Config::default() })
    },
};

pub(super) const FCN: Kind = Kind {
    name: "torchvision-fcn",
    title: "FCN of torchvision on ResNet50 or ResNet101",
    product: Product::Checkpoint,
    spellings: &[&[
        BACKBONE,
        &[("classifier.0.", "head.conv."), ("classifier.1.", "head.norm."), ("classifier.4.", "classifier.")],
    ]],
    left: &["aux_classifier."],
    network: |shapes| {
        let ResNet { backbone, layers, width } = ResNet::of(shapes, "backbone.");
        imagenet(FcnConfig { layers, width, backbone, ..FcnConfig::default() })
    },
};

/// Backbones. Robust weights of `ImageNet` and semseg's, with a deep stem, have the same names.
pub(super) const RESNET: Kind = Kind {
    name: "torchvision-resnet",
    title: "ResNet50 and deeper ones of torchvision, robust ones with their names, and semseg's; a backbone",
    product: Product::Backbone,
    spellings: &[POST_ACTIVATION],
    left: &["fc."],
    network: |shapes| {
        let ResNet { backbone, layers, width } = ResNet::of(shapes, "");
        imagenet(PspNetConfig { layers, width, backbone, ..PspNetConfig::default() })
    },
};

/// A post-activation `ResNet` with one to three convolutions before its stages.
pub(super) const POST_ACTIVATION: &[Rules] = &[
    &[
        ("conv1.weight", "conv1.weight"),
        ("bn1.", "bn1."),
        ("conv2.", "conv2."),
        ("bn2.", "bn2."),
        ("conv3.", "conv3."),
        ("bn3.", "bn3."),
    ],
    STAGES,
];

/// The stages of a post-activation `ResNet`.
pub(super) const STAGES: Rules =
    &[("layer1.", "layer1."), ("layer2.", "layer2."), ("layer3.", "layer3."), ("layer4.", "layer4.")];
