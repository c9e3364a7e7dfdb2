//! The registry of kinds. To add one, describe it in a file here and name it in the list.

mod convnext;
mod ddcat;
mod resnet;
mod segformer;
mod semseg;
mod timm;
mod torchvision;

use robustseg_models::{Architecture, NetworkSpec};

use crate::kind::Kind;

/// All kinds of published checkpoints. Where several know a file's names equally well, the first is
/// the nearest.
pub static KINDS: &[&Kind] = &[
    &semseg::PSPNET,
    &ddcat::PSPNET,
    &ddcat::DEEPLABV3,
    &torchvision::DEEPLABV3,
    &torchvision::FCN,
    &convnext::SEA,
    &convnext::TRANSFORMERS,
    &segformer::TRANSFORMERS,
    &torchvision::RESNET,
    &timm::RESNET,
];

/// `architecture` with the normalisation of networks that start from ImageNet.
fn imagenet(architecture: impl Into<Architecture>) -> NetworkSpec {
    NetworkSpec {
        architecture: architecture.into(),
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        ..NetworkSpec::default()
    }
}
