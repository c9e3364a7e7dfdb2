//! The program semseg of PSPNet's authors.

use robustseg_models::{NetworkSpec, PspNetConfig, Upsampling};

use super::imagenet::imagenet;
use super::resnet::ResNet;
use crate::kind::{Kind, Product, Shapes};
use crate::names::Rules;

/// `ResNet` with a deep stem.
pub(super) const BACKBONE: Rules = &[
    ("layer0.0.", "backbone.conv1."),
    ("layer0.1.", "backbone.bn1."),
    ("layer0.3.", "backbone.conv2."),
    ("layer0.4.", "backbone.bn2."),
    ("layer0.6.", "backbone.conv3."),
    ("layer0.7.", "backbone.bn3."),
    ("layer1.", "backbone.layer1."),
    ("layer2.", "backbone.layer2."),
    ("layer3.", "backbone.layer3."),
    ("layer4.", "backbone.layer4."),
];

/// Pyramid pooling.
pub(super) const PYRAMID: Rules =
    &[("ppm.features.{}.1.", "psp.branches.{}.conv."), ("ppm.features.{}.2.", "psp.branches.{}.norm.")];

/// The head of a network.
pub(super) const HEAD: Rules =
    &[("cls.0.", "head.conv."), ("cls.1.", "head.norm."), ("cls.4.", "classifier.")];

pub(super) const PSPNET: Kind = Kind {
    name: "semseg-pspnet",
    title: "PSPNet of semseg, the program of its authors",
    product: Product::Checkpoint,
    spellings: &[&[BACKBONE, PYRAMID, HEAD]],
    left: &["aux."],
    network: pspnet,
};

/// PSPNet of `shapes`, with aligned corners.
pub(super) fn pspnet(shapes: &Shapes) -> NetworkSpec {
    let ResNet { backbone, layers, width } = ResNet::of(shapes, "backbone.");
    let settings = PspNetConfig { layers, width, backbone, ..PspNetConfig::default() };
    NetworkSpec { upsampling: Upsampling::AlignCorners, ..imagenet(settings) }
}
