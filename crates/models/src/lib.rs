//! Networks for semantic segmentation in candle: a registry of kinds, initialisation, checkpoints
//! that describe themselves, and pretrained backbones.
//!
//! Images are (N, 3, H, W) in `[0, 1]` and are normalised inside the network, so that an attack's
//! epsilon has the same unit. Inside, everything is channels last. One [`Network`] serves training,
//! evaluation and attacks, depending on the [`Mode`] that it runs in. Only training and
//! [`Mode::FixedStatistics`] track the weights; other modes compute the image's gradient alone.

mod backbone;
mod backbone_file;
mod backbone_kind;
mod blocks;
mod branch;
mod chain;
mod checkpoint;
mod classifier;
mod config;
mod convolution_head;
mod dilation;
mod disk;
mod drawn;
mod error;
mod failure;
mod foreign;
mod hub;
mod hub_file;
mod layer;
mod layers;
mod metadata;
mod mode;
mod network;
mod networks;
mod norm_statistics;
mod normaliser;
mod origin;
mod outline;
mod parameter;
mod pooled;
mod precision;
pub mod pretrained;
mod resnet_v1;
mod resnet_v2;
mod run;
mod settings;
mod spec;
mod spelling;
mod store;
mod stored;
mod supervision;
mod transformer_layer;
mod trunk;
mod upsampling;
mod variables;

/// The candle whose tensors and devices this crate takes and gives.
pub use candle_core as candle;

pub use backbone::Taken;
pub use backbone_kind::Backbone;
pub use branch::Branch;
pub use checkpoint::{Checkpoint, write_weights};
pub use config::NetworkConfig;
pub use error::{Error, Result};
pub use hub::Hub;
pub use hub_file::{Fetched, HubFile};
pub use mode::{Mode, Uniforms};
pub use network::Network;
pub use networks::*;
pub use norm_statistics::NormStatistics;
pub use origin::{CheckpointClass, ImportOrigin, Origin, TrainingOrigin};
pub use outline::Outline;
pub use parameter::{Parameter, ParameterKind, Part};
pub use precision::Precision;
pub use spec::NetworkSpec;
pub use spelling::WRAPPERS;
pub use upsampling::Upsampling;
