//! PSPNet on a pre-activation ResNet in candle: a network of any depth and width, its initialisation, its
//! self-describing checkpoints and pretrained backbones.
//!
//! Images come in as (N, 3, H, W) in `[0, 1]` and are normalised inside, so that an attack's epsilon is in the same
//! unit. Inside, everything is channels last. The same network serves training, evaluation and attacks by the
//! [`Pass`] that it is run with; under all but training its weights are detached, so that only the image's
//! gradient is computed.

mod backbone;
mod checkpoint;
mod config;
mod error;
mod foreign;
mod head;
mod hub;
mod layer;
mod memory;
mod origin;
mod pass;
pub mod pretrained;
mod pspnet;
mod pyramid;
mod resnet_v2;
mod store;
mod variables;

pub use backbone::Taken;
pub use checkpoint::Checkpoint;
pub use config::{PspNetConfig, Upsampling};
pub use error::{Error, Result};
pub use hub::{Fetched, Hub, HubFile};
pub use memory::{forward_memory, gradient_memory, training_memory};
pub use origin::{CheckpointClass, Origin, TrainingOrigin};
pub use pass::Pass;
pub use pspnet::{BranchLogits, Parameter, ParameterKind, PspNet, multiply_adds, parameter_count};
