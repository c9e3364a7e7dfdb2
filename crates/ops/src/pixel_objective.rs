//! What training minimises and attacks follow: objectives over the labelled pixels of full-size logits, fused
//! with the upsampling that makes them.

use crate::Alignment;
use crate::cpu::{self, f32_slice, interpolation::Resize, u8_slice};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use std::sync::OnceLock;

/// The value of a label map at pixels that are not labelled; they take part in nothing.
pub const IGNORE_LABEL: u8 = 255;

/// An objective at one labelled pixel, of its logits z and label y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PixelObjective {
    /// Minus the logarithm of the label's softmax.
    CrossEntropy,
    /// `z_y - max_{i != y} z_i`, positive where the prediction is right (Wiens & Hammer, equation 14). With
    /// equal largest others the gradient goes to the first.
    Gain,
    /// Cross-entropy weighted by `1 - lambda` where the prediction is right and `lambda` where it is wrong
    /// (Gu et al. 2022, `SegPGD`).
    SegPgd {
        /// Weight of the pixels that are already wrong.
        lambda: f32,
    },
    /// Cross-entropy weighted by the cosine of the angle between softmax and one-hot label; no gradient flows
    /// through the weight (Agnihotri et al. 2024, `CosPGD`).
    CosPgd,
    /// Cross-entropy where the prediction is right, 0 where it is wrong already; no gradient flows through that choice
    /// (Croce, Singh, Hein 2024).
    MaskedCrossEntropy,
    /// [`PixelObjective::MaskedCrossEntropy`] in which the classes of an image count alike: a pixel of class c weighs
    /// `labelled / (present * pixels of c)`, by the labelled pixels and the classes present in its image (Croce, Singh,
    /// Hein 2024, who count the whole dataset's pixels; here an image does not depend on others).
    BalancedMaskedCrossEntropy,
    /// The Jensen-Shannon divergence of softmax and one-hot label, from 0 to the logarithm of 2 (Croce, Singh, Hein
    /// 2024). Of a wrong pixel its gradient vanishes.
    JensenShannon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mean {
    EachImage,
    WholeBatch,
}

/// The mean of `objective` over each image's labelled pixels, shape (N).
///
/// `logits` (N, h, w, K) of any size are interpolated bilinearly to the size of `label` (N, H, W), u8, in the
/// same pass. An image without a labelled pixel gives 0 with a gradient of 0.
///
/// # Errors
/// If the shapes do not fit, or a label is neither a class nor [`IGNORE_LABEL`]. On a GPU, which is not waited for, such
/// a label makes the value of its image NaN instead.
pub fn pixel_objective_per_image(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
) -> Result<Tensor> {
    apply(logits, label, objective, alignment, Mean::EachImage)
}

/// The mean of `objective` over all labelled pixels of the batch, a scalar: the training loss (equation 13).
/// Otherwise as [`pixel_objective_per_image`].
///
/// # Errors
/// As [`pixel_objective_per_image`].
pub fn pixel_objective_mean(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
) -> Result<Tensor> {
    apply(logits, label, objective, alignment, Mean::WholeBatch)?.sum_all()
}

fn apply(
    logits: &Tensor,
    label: &Tensor,
    objective: PixelObjective,
    alignment: Alignment,
    mean: Mean,
) -> Result<Tensor> {
    let (images, height, width, classes) = dims4("pixel_objective", "logits (N, h, w, K)", logits)?;
    error::dtype("pixel_objective", DType::F32, logits)?;
    error::dtype("pixel_objective", DType::U8, label)?;
    let target = match *label.dims() {
        [n, height, width] if n == images && height > 0 && width > 0 => [height, width],
        _ => {
            let expected = format!("label (N, H, W) of {images} images");
            return Err(error::shape("pixel_objective", expected, label));
        }
    };
    let resize = Resize { source: [height, width], target, channels: classes, alignment };
    let with_gradient = logits.track_op();
    let op = Objective { resize, pixel: objective, mean, with_gradient, gradient: OnceLock::new() };
    logits.contiguous()?.apply_op2(&label.contiguous()?, op)
}

/// Value (N) and, in the same pass, its gradient, which the backward pass only scales.
struct Objective {
    resize: Resize,
    pixel: PixelObjective,
    mean: Mean,
    with_gradient: bool,
    /// Of each image's value by its logits.
    gradient: OnceLock<Tensor>,
}

impl CustomOp2 for Objective {
    fn name(&self) -> &'static str {
        "pixel_objective"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        zl: &Layout,
        label: &CpuStorage,
        ll: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, label) = (f32_slice(logits, zl)?, u8_slice(label, ll)?);
        let images =
            cpu::pixel_objective::image_sums(&self.resize, logits, label, self.pixel, self.with_gradient)?;
        let all: u64 = images.iter().map(|image| image.labelled).sum();
        let count = |labelled: u64| match self.mean {
            Mean::EachImage => labelled.max(1) as f64,
            Mean::WholeBatch => all.max(1) as f64,
        };
        let values: Vec<f32> =
            images.iter().map(|image| (image.sum / count(image.labelled)) as f32).collect();
        if self.with_gradient {
            let mut gradient = Vec::with_capacity(logits.len());
            for image in &images {
                let share = (1.0 / count(image.labelled)) as f32;
                gradient.extend(image.gradient.iter().map(|value| value * share));
            }
            self.gradient.set(Tensor::from_vec(gradient, zl.shape(), &Device::Cpu)?).ok();
        }
        let shape = Shape::from(values.len());
        Ok((CpuStorage::F32(values), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        logits: &CudaStorage,
        zl: &Layout,
        label: &CudaStorage,
        ll: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use candle_core::{Storage, op::BackpropOp};
        let whole_batch = self.mean == Mean::WholeBatch;
        let (values, gradient) = crate::cuda::pixel_objective::means(
            &self.resize,
            (logits, zl),
            (label, ll),
            self.pixel,
            whole_batch,
            self.with_gradient,
        )?;
        if let Some(gradient) = gradient {
            let gradient = Storage::Cuda(gradient);
            self.gradient.set(Tensor::from_storage(gradient, zl.shape(), BackpropOp::none(), false)).ok();
        }
        Ok((values, Shape::from(zl.dims()[0])))
    }

    fn bwd(
        &self,
        _logits: &Tensor,
        _label: &Tensor,
        _value: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.gradient.get() else {
            return Ok((None, None));
        };
        Ok((Some(saved.apply_op2_no_bwd(&gradient.contiguous()?, &ScaleImages)?), None))
    }
}

/// (N, ...) times (N).
struct ScaleImages;

impl CustomOp2 for ScaleImages {
    fn name(&self) -> &'static str {
        "scale_images"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        scale: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, scale) = (f32_slice(x, xl)?, f32_slice(scale, sl)?);
        let scaled = x.chunks_exact(x.len() / scale.len()).zip(scale);
        let scaled = scaled.flat_map(|(image, scale)| image.iter().map(move |value| value * scale)).collect();
        Ok((CpuStorage::F32(scaled), xl.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        scale: &CudaStorage,
        sl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::elementwise::scale_images(x, xl, scale, sl)?, xl.shape().clone()))
    }
}

/// The predicted class of every pixel, u8 (N, `height`, `width`): the largest of the upsampled `logits`
/// (N, h, w, K), the first of equals.
///
/// # Errors
/// If `logits` does not have four axes or more than 256 classes.
pub fn predict(logits: &Tensor, height: usize, width: usize, alignment: Alignment) -> Result<Tensor> {
    let (_, h, w, classes) = dims4("predict", "logits (N, h, w, K)", logits)?;
    error::dtype("predict", DType::F32, logits)?;
    if classes > 256 || height == 0 || width == 0 {
        candle_core::bail!(
            "predict: expected at most 256 classes and a size of at least 1x1, found {classes} classes and \
             {height}x{width}"
        );
    }
    let resize = Resize { source: [h, w], target: [height, width], channels: classes, alignment };
    logits.contiguous()?.apply_op1_no_bwd(&Predict(resize))
}

struct Predict(Resize);

impl CustomOp1 for Predict {
    fn name(&self) -> &'static str {
        "predict"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, zl: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = cpu::pixel_objective::predict(&self.0, f32_slice(logits, zl)?);
        let shape = Shape::from((zl.dims()[0], self.0.target[0], self.0.target[1]));
        Ok((CpuStorage::U8(out), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, logits: &CudaStorage, zl: &Layout) -> Result<(CudaStorage, Shape)> {
        let out = crate::cuda::pixel_objective::predict(&self.0, logits, zl)?;
        Ok((out, Shape::from((zl.dims()[0], self.0.target[0], self.0.target[1]))))
    }
}
