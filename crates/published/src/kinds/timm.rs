//! timm's networks.

use robustseg_models::{Backbone, NetworkSpec, PspNetConfig};

use super::imagenet::imagenet;
use super::resnet::ResNet;
use super::torchvision::POST_ACTIVATION;
use crate::kind::{Kind, Product};

pub(super) const RESNET: Kind = Kind {
    name: "timm-resnet",
    title: "ResNet50 and ResNet v2 of timm, and deeper ones; a backbone",
    product: Product::Backbone,
    rules: &[&[("stem.conv.", "stem.conv."), ("stages.", "stages."), ("norm.", "norm.")], POST_ACTIVATION],
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
