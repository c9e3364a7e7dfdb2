//! timm's networks.

use robustseg_models::{Backbone, NetworkSpec, PspNetConfig};

use super::imagenet::imagenet;
use super::resnet::ResNet;
use super::torchvision::{POST_ACTIVATION, STAGES};
use crate::kind::{Kind, Product};
use crate::names::Rules;

pub(super) const RESNET: Kind = Kind {
    name: "timm-resnet",
    title: "ResNet50, resnet50s and ResNet v2 of timm, and deeper ones; a backbone",
    product: Product::Backbone,
    spellings: &[PRE_ACTIVATION, POST_ACTIVATION, &[DEEP_STEM, STAGES]],
    left: &["head.", "fc."],
    network: |shapes| {
        let ResNet { backbone, layers, width } = ResNet::of(shapes, "");
        let settings = PspNetConfig { layers, width, backbone, ..PspNetConfig::default() };
        match backbone {
            // `resnetv2` models normalise by one half, as specs do by default.
            Backbone::ResnetV2 => NetworkSpec { architecture: settings.into(), ..NetworkSpec::default() },
            Backbone::ResnetV1 | Backbone::ResnetV1c => imagenet(settings),
        }
    },
};

const PRE_ACTIVATION: &[Rules] =
    &[&[("stem.conv.", "stem.conv."), ("stages.", "stages."), ("norm.", "norm.")]];

/// The deep stem is a sequence, whose last norm lies outside of it.
const DEEP_STEM: Rules = &[
    ("conv1.0.", "conv1."),
    ("conv1.1.", "bn1."),
    ("conv1.3.", "conv2."),
    ("conv1.4.", "bn2."),
    ("conv1.6.", "conv3."),
    ("bn1.", "bn3."),
];
