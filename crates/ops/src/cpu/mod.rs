//! The CPU side of the operations: pure functions over slices, channels last, parallel over fixed
//! blocks so that results do not depend on the number of threads. Each file implements
//! [`OnCpu`](crate::operation::OnCpu) for the operations of the file of the same name next to this
//! folder.

pub(crate) mod adamw;
mod attention;
mod batch_norm;
mod channels;
mod column_sums;
mod convolution;
mod cook_toom;
mod depthwise;
mod dropout;
pub(crate) mod element;
mod elementary;
mod factor;
mod gain_map;
mod gelu;
mod gradients;
mod interpolation;
mod labelled;
mod lanes;
mod layer_norm;
mod losses;
mod matrix;
mod norm_convolution;
mod objectives;
#[cfg(target_arch = "x86_64")]
mod packed;
#[cfg(target_arch = "x86_64")]
mod packed_kernel;
mod pair;
mod patches;
mod perturbation;
mod phases;
mod pixel_objective;
mod pooling;
mod prediction;
mod pyramid;
mod rounded;
mod running_statistics;
pub(crate) mod sgd;
mod start;
mod sweep;
mod taps;
mod transpose;
mod upsample;
mod upsampled_convolution;
mod vectors;
mod winograd;
mod workspace;
