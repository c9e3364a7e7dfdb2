//! Differentiable operations on candle tensors for semantic segmentation, channels last.
//!
//! Every operation is a candle `CustomOp` with its own gradient: candle's autograd drives them, and any candle
//! model can use them. Activations are (N, H, W, C), convolution weights (O, KH, KW, I), images (N, 3, H, W) in
//! `[0, 1]`, label maps u8 (N, H, W) with [`IGNORE_LABEL`] = 255 where there is no label; elements are f32, on a GPU those of
//! activations and convolution weights may be bf16.
//!
//! A gradient that nobody asked for is not computed: an operation whose weight is detached leaves out the
//! weight's gradient, which makes an attack's gradient cost two thirds of a training step's.
//!
//! Results do not depend on the number of threads: work is cut into blocks by the sizes alone, and partial sums
//! are added in the order of the blocks.
//!
//! Each operation is a file here; what it computes on a device is in that device's room: `cpu`, reached from the operation's
//! `cpu_fwd`, and, with the feature `cuda`, `cuda`, reached from `cuda_fwd`. This is the only crate with `unsafe` code.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use robustseg_ops::{Alignment, Conv2dConfig, PixelObjective, conv2d, pixel_objective_mean};
//! # fn main() -> candle_core::Result<()> {
//! let image = Tensor::rand(0_f32, 1.0, (1, 9, 7, 3), &Device::Cpu)?;
//! let weight = Var::rand(-1_f32, 1.0, (5, 3, 3, 3), &Device::Cpu)?;
//! let logits = conv2d(&image, &weight, Conv2dConfig { stride: 2, padding: 1, dilation: 1 })?;
//! let label = Tensor::zeros((1, 9, 7), candle_core::DType::U8, &Device::Cpu)?;
//! let loss = pixel_objective_mean(&logits, &label, PixelObjective::CrossEntropy, Alignment::HalfPixel)?;
//! assert_eq!(loss.backward()?.get(&weight).unwrap().dims(), [5, 3, 3, 3]);
//! # Ok(())
//! # }
//! ```

mod batch_norm;
mod channels;
mod convolution;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod memory;
mod norm_convolution;
mod perturbation;
mod pixel_objective;
mod pooling;
mod pyramid;
mod sgd;
mod staging;
mod upsample;

pub use batch_norm::{BatchNorm, BatchStatistics, StatisticsSource, batch_norm_relu, batch_statistics};
pub use channels::{normalise_image, scale_channels};
pub use convolution::{Conv2dConfig, add_bias, conv2d, conv2d_add};
pub use error::Error;
pub use memory::keep_freed_memory;
pub use norm_convolution::batch_norm_relu_conv2d;
pub use perturbation::{l1_norm_per_image, project, sign_step};
pub use pixel_objective::{
    IGNORE_LABEL, PixelObjective, pixel_objective_mean, pixel_objective_per_image, predict,
};
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use pyramid::conv2d_pyramid;
pub use sgd::{SgdConfig, SgdUpdate, sgd_step};
pub use staging::Staging;
pub use upsample::{Alignment, upsample_bilinear};
