//! Differentiable operations on candle tensors for semantic segmentation, channels last.
//!
//! Every operation has its own gradient. A [`Tape`] records and differentiates a computation, in
//! which candle's own operations may take part. Without a tape, an operation enters candle's
//! autograd as a `CustomOp`, so any candle model can use it.
//!
//! Activations are (N, H, W, C), convolution weights (O, KH, KW, I), images (N, 3, H, W) in
//! `[0, 1]`, label maps u8 (N, H, W) with [`IGNORE_LABEL`] = 255 at unlabelled pixels. Elements are
//! f32. Activations may be bf16; on a GPU, the weights of their convolutions are bf16 too.
//!
//! Detached arguments get no gradient. An attack detaches the weights, so its gradient costs two
//! thirds of a training step's.
//!
//! Results do not depend on the number of threads: the sizes alone decide how work is cut into
//! blocks, and partial sums are added in the order of the blocks.
//!
//! The file of an operation describes it without naming a device: its arguments, the shape of its
//! output, its gradients. The folder `cpu` computes it on the CPU, the folder `cuda`, with the
//! feature of that name, on NVIDIA GPUs. Neither folder knows the other. `adapter` and
//! `candle_part` alone know candle's autograd. This is the only crate with `unsafe` code.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use robustseg_ops::{Alignment, Arithmetic, Conv2dConfig, PixelObjective, Tape, conv2d, pixel_objective_mean};
//! # fn main() -> candle_core::Result<()> {
//! let image = Tensor::rand(0_f32, 1.0, (1, 9, 7, 3), &Device::Cpu)?;
//! let weight = Var::rand(-1_f32, 1.0, (5, 3, 3, 3), &Device::Cpu)?;
//! let config = Conv2dConfig { stride: 2, padding: 1, dilation: 1 };
//! let tape = Tape::start();
//! let logits = conv2d(&image, &weight, config, Arithmetic::default())?;
//! let label = Tensor::zeros((1, 9, 7), candle_core::DType::U8, &Device::Cpu)?;
//! let loss = pixel_objective_mean(&logits, &label, PixelObjective::CrossEntropy, Alignment::HalfPixel)?;
//! assert_eq!(tape.backward(&loss)?.get(&weight).unwrap().dims(), [5, 3, 3, 3]);
//! # Ok(())
//! # }
//! ```

mod adamw;
mod adamw_update;
mod adapter;
mod all_reduce;
mod arithmetic;
mod attention;
mod batch_norm;
mod candle_part;
mod channels;
mod clipping;
mod concatenation;
mod contiguous;
mod convert;
mod convolution;
mod copies;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod deal;
mod depthwise;
mod dropout;
mod error;
mod folded_norm;
mod gain_map;
mod gelu;
mod geometry;
mod gradients;
mod in_place;
mod layer_norm;
mod losses;
mod memory;
mod norm_convolution;
mod operation;
mod pair;
mod perturbation;
mod pixel_objective;
mod pooling;
mod prediction;
mod pyramid;
mod pyramid_geometry;
mod recompute;
mod recordings;
mod regions;
mod resize;
mod rounded_copy;
mod running_statistics;
mod sgd;
mod sgd_update;
mod softmax;
mod staging;
mod tape;
mod upsample;
mod upsampled_convolution;

/// The candle whose tensors and devices this crate takes and gives.
pub use candle_core as candle;

pub use adamw::adamw_step;
pub use adamw_update::{AdamWConfig, AdamWUpdate};
pub use all_reduce::{AllReduce, Reducing};
pub use arithmetic::{Arithmetic, ConvolutionChoice, Factors};
pub use attention::attention;
pub use batch_norm::{
    BatchNorm, BatchStatistics, StatisticsSource, batch_norm, batch_norm_add_relu,
    batch_norm_add_relu_in_place, batch_norm_in_place, batch_norm_relu, batch_norm_relu_in_place,
    batch_statistics, dealt_statistics,
};
pub use channels::{add_bias, normalise_image, scale_channels, scale_rows};
pub use clipping::clip_gradients;
pub use concatenation::{concatenate, part};
pub use contiguous::contiguous;
pub use convert::convert;
pub use convolution::{conv2d, conv2d_add, conv2d_bias};
pub use copies::copies;
pub use deal::Deal;
pub use depthwise::depthwise_conv2d;
pub use dropout::dropout_factors;
pub use error::Error;
pub use folded_norm::FoldedNorm;
pub use gain_map::gain_map;
pub use gelu::gelu;
pub use geometry::Conv2dConfig;
pub use gradients::Gradients;
pub use layer_norm::layer_norm;
pub use losses::{Hardest, dice_loss, lovasz_softmax, ohem_cross_entropy, weighted_cross_entropy};
pub use memory::{is_out_of_memory, keep_freed_memory};
pub use norm_convolution::{batch_norm_relu_conv2d, batch_norm_relu_conv2d_in_place};
pub use perturbation::{l1_norm_per_image, project, sign_step};
pub use pixel_objective::{
    IGNORE_LABEL, PixelObjective, pixel_objective_mean, pixel_objective_per_image,
    set_balanced_objective_per_image,
};
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use prediction::predict;
pub use pyramid::conv2d_pyramid;
pub use recompute::recompute;
pub use recordings::{Pass, Recordings};
pub use resize::Alignment;
pub use rounded_copy::{RoundedCopy, assign, weight_for};
pub use running_statistics::move_running_statistics;
pub use sgd::sgd_step;
pub use sgd_update::{SgdConfig, SgdUpdate};
pub use softmax::{log_probabilities, softmax};
pub use staging::Staging;
pub use tape::Tape;
pub use upsample::{upsample_bilinear, upsample_bilinear_add};
pub use upsampled_convolution::conv2d_upsampled_add;
