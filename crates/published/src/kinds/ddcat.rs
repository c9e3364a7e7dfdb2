//! The program of DDC-AT (Xu et al. 2021), which follows semseg. Its networks for DDC-AT have a
//! main head, an auxiliary head and a mask; its test takes the main head alone. Its other networks
//! have one head.

use robustseg_models::{DeepLabV3Config, DeepLabVariant, NetworkSpec, Upsampling};

use super::imagenet::imagenet;
use super::resnet::ResNet;
use super::semseg::{self, BACKBONE, HEAD, PYRAMID};
use crate::kind::{Kind, Product};
use crate::names::Rules;

/// The main one of several heads.
const MAIN: Rules = &[("cls1.0.", "head.conv."), ("cls1.1.", "head.norm."), ("cls1.4.", "classifier.")];

const OTHERS: &[&str] = &["cls2.", "mask1.", "aux_cls1.", "aux."];

const ASPP: Rules = &[
    ("aspp.convs.4.1.", "aspp.pool.conv."),
    ("aspp.convs.4.2.", "aspp.pool.norm."),
    ("aspp.convs.{}.0.", "aspp.branches.{}.conv."),
    ("aspp.convs.{}.1.", "aspp.branches.{}.norm."),
];

pub(super) const PSPNET: Kind = Kind {
    name: "ddcat-pspnet",
    title: "PSPNet of DDC-AT's program; of several heads the main one",
    product: Product::Checkpoint,
    spellings: &[&[BACKBONE, PYRAMID, MAIN, HEAD]],
    left: OTHERS,
    network: semseg::pspnet,
};

pub(super) const DEEPLABV3: Kind = Kind {
    name: "ddcat-deeplabv3",
    title: "DeepLabV3 of DDC-AT's program; of several heads the main one",
    product: Product::Checkpoint,
    spellings: &[&[BACKBONE, ASPP, MAIN, HEAD]],
    left: OTHERS,
    network: |shapes| {
        let ResNet { backbone, layers, width } = ResNet::of(shapes, "backbone.");
        let variant = DeepLabVariant::DdcAt;
        let settings = DeepLabV3Config { layers, width, backbone, variant, ..DeepLabV3Config::default() };
        NetworkSpec { upsampling: Upsampling::AlignCorners, ..imagenet(settings) }
    },
};
