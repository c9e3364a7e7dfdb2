//! A batch norm with running statistics, folded into the convolution before it.
//!
//! Where weights rest, `relu(batch_norm(conv2d(x, w)))` is `relu(conv2d(x, w s) + b)` with
//! `s = weight / sqrt(variance + eps)` and `b = bias - mean s` of the norm (Jacob et al. 2018,
//! *Quantization and Training of Neural Networks*, section 3.2). A GPU adds `b` and applies the `ReLU`
//! while it writes the convolution's output, so one reading and one writing of that map are saved.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::batch_norm::{BatchNorm, ReluGradient, StatisticsSource};
use crate::convolution::Conv2d;
use crate::error;
use crate::geometry::{Conv2dConfig, Geometry};
use crate::norm_convolution::NormConvolution;
use crate::operation::{Backward, OnCpu, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// The weight and the bias of a convolution into which the batch norm behind it is folded.
///
/// They are constants: gradients flow to the input of the convolution alone.
#[derive(Debug)]
pub struct FoldedNorm {
    /// (O, KH, KW, I), in the type of the activations.
    weight: Tensor,
    /// (O), in the same type.
    bias: Tensor,
}

impl FoldedNorm {
    /// `norm` folded into the convolution of `weight` (O, KH, KW, I), f32, for activations of type
    /// `elements`. It costs one reading of the weight.
    ///
    /// `None` where the norm has to be computed by itself: on the CPU, where it is a small part of the
    /// time and a folded weight would round differently from PyTorch; with statistics of the batch;
    /// where a gradient of the weight or of the norm's parameters is recorded; and where the environment
    /// variable `ROBUSTSEG_GPU_WITHOUT` names `folding`.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use robustseg_ops::{BatchNorm, BatchStatistics, FoldedNorm, StatisticsSource};
    /// # fn main() -> candle_core::Result<()> {
    /// let ones = Tensor::ones(1, DType::F32, &Device::Cpu)?;
    /// let (kernel, source) = (ones.reshape((1, 1, 1, 1))?, StatisticsSource::Running);
    /// let (statistics, eps) = (BatchStatistics::new(ones.clone(), ones.clone()), 1e-5);
    /// let norm = BatchNorm { weight: &ones, bias: &ones, statistics: &statistics, source, eps };
    /// assert!(FoldedNorm::new(&kernel, norm, DType::F32)?.is_none()); // on the CPU
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the shapes do not fit, or the weight is not f32.
    pub fn new(weight: &Tensor, norm: BatchNorm<'_>, elements: DType) -> Result<Option<Self>> {
        const NAME: &str = "folded_norm";
        let (outputs, ..) = error::dims4(NAME, "weight (O, KH, KW, I)", weight)?;
        error::dtype(NAME, DType::F32, weight)?;
        let statistics = norm.statistics;
        for tensor in [norm.weight, norm.bias, &statistics.mean, &statistics.variance] {
            if tensor.dims() != [outputs] {
                let expected = format!("one value for each of {outputs} channels");
                return Err(error::shape(NAME, expected, tensor));
            }
        }
        let recorded = [weight, norm.weight, norm.bias].into_iter().any(Tensor::track_op);
        if recorded || norm.source == StatisticsSource::Batch {
            return Ok(None);
        }
        Self::on_gpu(weight, norm, elements)
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(weight: &Tensor, norm: BatchNorm<'_>, elements: DType) -> Result<Option<Self>> {
        let folded = crate::cuda::folded_norm::fold(weight, norm, elements)?;
        Ok(folded.map(|[weight, bias]| Self { weight, bias }))
    }

    #[cfg(not(feature = "cuda"))]
    #[expect(clippy::unnecessary_wraps, reason = "a build for GPUs may fail")]
    fn on_gpu(_: &Tensor, _: BatchNorm<'_>, _: DType) -> Result<Option<Self>> {
        Ok(None)
    }

    /// Convolution of `x` (N, H, W, I), the norm and `ReLU`, giving (N, OH, OW, O).
    ///
    /// # Errors
    /// As [`conv2d`](crate::conv2d).
    pub fn conv2d_relu(&self, x: &Tensor, config: Conv2dConfig, arithmetic: Arithmetic) -> Result<Tensor> {
        let geometry = Geometry::new("conv2d_batch_norm_relu", x, &self.weight, config)?;
        let convolve = Conv2d { geometry, arithmetic };
        apply(FoldedConvolution { convolve, bias: self.bias.clone() }, [x, &self.weight])
    }

    /// Another norm, `first`, with `ReLU`, then [`FoldedNorm::conv2d_relu`]. The activated map between
    /// the two is not kept for the backward pass.
    ///
    /// # Errors
    /// As [`batch_norm_relu_conv2d`](crate::batch_norm_relu_conv2d).
    pub fn batch_norm_relu_conv2d_relu(
        &self,
        x: &Tensor,
        first: BatchNorm<'_>,
        config: Conv2dConfig,
        arithmetic: Arithmetic,
    ) -> Result<Tensor> {
        let (inner, parameters) = NormConvolution::new(x, first, &self.weight, config, arithmetic)?;
        let operation = FoldedNormConvolution { inner, bias: self.bias.clone() };
        apply(operation, [x, &parameters, &self.weight])
    }
}

/// `relu(convolution + bias)` of (x, weight).
pub(crate) struct FoldedConvolution {
    pub(crate) convolve: Conv2d,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "GPUs alone fold norms"))]
    pub(crate) bias: Tensor,
}

impl Operation<2> for FoldedConvolution {
    const NAME: &'static str = "conv2d_batch_norm_relu";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.convolve.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let passed = run(ReluGradient, [backward.output, backward.gradient])?;
        self.convolve.gradients(backward, &passed)
    }
}

// See `FoldedNorm::new`.
impl OnCpu<2> for FoldedConvolution {}

/// `relu(NormConvolution + bias)` of the same inputs.
pub(crate) struct FoldedNormConvolution {
    pub(crate) inner: NormConvolution,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "GPUs alone fold norms"))]
    pub(crate) bias: Tensor,
}

impl Operation<3> for FoldedNormConvolution {
    const NAME: &'static str = "batch_norm_relu_conv2d_batch_norm_relu";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.inner.convolve.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let passed = run(ReluGradient, [backward.output, backward.gradient])?;
        NormConvolution::gradients(&self.inner, backward, &passed)
    }
}

// See `FoldedNorm::new`.
impl OnCpu<3> for FoldedNormConvolution {}
