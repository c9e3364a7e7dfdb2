//! The registry of kinds. To add one, describe it in a file here and name it in the list.

mod convnext;
mod ddcat;
mod imagenet;
mod resnet;
mod segformer;
mod semseg;
mod timm;
mod torchvision;

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

impl Kind {
    /// The kind `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().copied().find(|kind| kind.name == name)
    }
}
