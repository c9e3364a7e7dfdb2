//! The registry of networks. To add one, write its file here and name it in a `mod` line and in the
//! list.

mod deeplabv3;
mod fcn;
mod pspnet;
#[macro_use]
mod registry;
mod segformer;
mod upernet;

pub use deeplabv3::{DeepLabV3Config, DeepLabVariant};
pub use fcn::FcnConfig;
pub use pspnet::PspNetConfig;
pub use segformer::{SegFormerConfig, SegFormerSize};
pub use upernet::{ConvNeXtSize, ConvNeXtStem, UperNetConfig};

networks! {
    /// PSPNet, `PSPNet50` on a pre-activation `ResNet` by default.
    pspnet: PspNet(PspNetConfig),
    /// `DeepLabV3`, torchvision's on `ResNet50` by default.
    deeplabv3: DeepLabV3(DeepLabV3Config),
    /// FCN, torchvision's on `ResNet50` by default.
    fcn: Fcn(FcnConfig),
    /// SegFormer, B0 by default.
    segformer: SegFormer(SegFormerConfig),
    /// UPerNet on ConvNeXt, the tiny one by default.
    upernet: UperNet(UperNetConfig),
}
