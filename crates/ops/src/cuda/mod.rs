//! The CUDA side of the operations, on the stream of each device. Each file implements
//! [`OnGpu`](crate::operation::OnGpu) for the operations of the file of the same name next to this
//! folder.
//!
//! The program's own kernels are in `kernels`, compiled into the program. cuDNN computes
//! convolutions, cuBLAS matrix products. Activations are f32 or bf16, all sums f32 or wider. Only
//! `descent` waits for the device.
#![allow(unsafe_code)]

pub(crate) mod adamw;
mod attention;
mod batch_norm;
mod channels;
mod column_sums;
mod concatenation;
mod constants;
mod contiguous;
mod convert;
mod convolution;
pub(crate) mod copies;
mod depthwise;
mod descent;
mod device;
mod dropout;
pub(crate) mod element;
pub(crate) mod folded_norm;
mod gain_map;
mod gelu;
mod launch;
mod layer_norm;
pub(crate) mod memory;
pub(crate) mod nccl;
mod norm_convolution;
mod pair;
mod perturbation;
mod pixel_objective;
mod pool;
mod pooling;
mod prediction;
mod product;
mod pyramid;
mod rearrange;
pub(crate) mod recordings;
mod resize;
mod running_statistics;
pub(crate) mod sgd;
pub(crate) mod staging;
mod upsample;
mod users;
mod window;
mod without;

pub use convolution::{ConvolutionRecord, convolution_records};
pub use device::{count, name, open, peak_bytes};
pub use recordings::{RecordingRecord, recording_records};
