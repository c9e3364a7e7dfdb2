//! The registry of networks. To add one, write its file here and name it in a `mod` line and in the
//! list.

mod pspnet;
#[macro_use]
mod registry;

pub use pspnet::PspNetConfig;

networks! {
    /// PSPNet on a pre-activation `ResNet`, `PSPNet50` by default.
    pspnet: PspNet(PspNetConfig),
}
