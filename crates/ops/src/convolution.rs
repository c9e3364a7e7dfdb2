//! Two-dimensional convolution, channels last.

use crate::cpu::{self, convolution::Geometry, f32_slice};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// Stride, zero padding and dilation of a convolution, the same in both directions.
///
/// ```
/// let same = robustseg_ops::Conv2dConfig { stride: 1, padding: 4, dilation: 4 };
/// assert_eq!(same.output_size(59, 3), Some(59));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Pixels from one output to the next, at least 1.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Pixels from one tap to the next, at least 1.
    pub dilation: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1 }
    }
}

impl Conv2dConfig {
    /// Output pixels of `input` pixels under a kernel of `kernel` taps; `None` where the kernel does not fit.
    pub fn output_size(&self, input: usize, kernel: usize) -> Option<usize> {
        let reach = self.dilation * kernel.checked_sub(1)? + 1;
        Some((input + 2 * self.padding).checked_sub(reach)? / self.stride.max(1) + 1)
    }
}

/// Convolution of `x` (N, H, W, I) with `weight` (O, KH, KW, I), giving (N, OH, OW, O); f32.
///
/// No gradient is computed for an argument that is detached. Cost: N * OH * OW * O * KH * KW * I
/// multiply-adds, as many again for each gradient.
///
/// # Errors
/// If the shapes do not fit each other, or the kernel is larger than the padded input.
pub fn conv2d(x: &Tensor, weight: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
    let geometry = geometry("conv2d", x, weight, config)?;
    let op = Conv2d { geometry, needs: [x.track_op(), weight.track_op()] };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// `residual + conv2d(x, weight)` in one pass over the output; `residual` (N, OH, OW, O).
///
/// # Errors
/// As [`conv2d`], and if `residual` does not have the output's shape.
pub fn conv2d_add(x: &Tensor, weight: &Tensor, config: Conv2dConfig, residual: &Tensor) -> Result<Tensor> {
    let geometry = geometry("conv2d_add", x, weight, config)?;
    if residual.dims() != output_shape(&geometry).dims() {
        let expected = format!("residual of shape {:?}", output_shape(&geometry).dims());
        return Err(error::shape("conv2d_add", expected, residual));
    }
    let op = Conv2d { geometry, needs: [x.track_op(), weight.track_op()] };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &residual.contiguous()?, op)
}

pub(crate) fn geometry(
    operation: &'static str,
    x: &Tensor,
    weight: &Tensor,
    config: Conv2dConfig,
) -> Result<Geometry> {
    let (batch, height, width, inputs) = dims4(operation, "input (N, H, W, I)", x)?;
    error::activation(operation, x)?;
    error::dtype(operation, x.dtype(), weight)?;
    let (outputs, kh, kw, weight_inputs) = dims4(operation, "weight (O, KH, KW, I)", weight)?;
    if weight_inputs != inputs {
        let expected = format!("weight with {inputs} input channels");
        return Err(error::shape(operation, expected, weight));
    }
    if config.stride == 0 || config.dilation == 0 {
        candle_core::bail!("{operation}: stride and dilation must be at least 1, found {config:?}");
    }
    let sizes = (config.output_size(height, kh), config.output_size(width, kw));
    let (Some(out_height), Some(out_width)) = sizes else {
        let expected = format!("input no smaller than the kernel {kh}x{kw} under {config:?}");
        return Err(error::shape(operation, expected, x));
    };
    Ok(Geometry {
        batch,
        input: [height, width, inputs],
        output: [out_height, out_width, outputs],
        kernel: [kh, kw],
        stride: config.stride,
        padding: config.padding,
        dilation: config.dilation,
    })
}

fn input_shape(g: &Geometry) -> Shape {
    Shape::from((g.batch, g.input[0], g.input[1], g.input[2]))
}

pub(crate) fn output_shape(g: &Geometry) -> Shape {
    Shape::from((g.batch, g.output[0], g.output[1], g.output[2]))
}

pub(crate) fn weight_shape(g: &Geometry) -> Shape {
    Shape::from((g.output[2], g.kernel[0], g.kernel[1], g.input[2]))
}

pub(crate) struct Conv2d {
    pub(crate) geometry: Geometry,
    /// Whether the gradients of the input and of the weight are wanted.
    pub(crate) needs: [bool; 2],
}

impl Conv2d {
    pub(crate) fn input_gradient(&self, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        weight.apply_op2_no_bwd(gradient, &InputGradient(self.geometry))
    }

    fn gradients(
        &self,
        x: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [input, weights] = self.needs;
        let input = input.then(|| self.input_gradient(weight, &gradient)).transpose()?;
        let weights =
            weights.then(|| x.apply_op2_no_bwd(&gradient, &WeightGradient(self.geometry))).transpose()?;
        Ok((input, weights))
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        let out = cpu::convolution::forward(g, f32_slice(x, xl)?, f32_slice(weight, wl)?, None);
        Ok((CpuStorage::F32(out), output_shape(g)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        weight: &CudaStorage,
        wl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::forward};
        let out = by_element!(x, forward(&self.geometry, (x, xl), (weight, wl), None))?;
        Ok((out, output_shape(&self.geometry)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, weight, gradient)
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d_add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        residual: &CpuStorage,
        rl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        let residual = Some(f32_slice(residual, rl)?);
        let out = cpu::convolution::forward(g, f32_slice(x, xl)?, f32_slice(weight, wl)?, residual);
        Ok((CpuStorage::F32(out), output_shape(g)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        weight: &CudaStorage,
        wl: &Layout,
        residual: &CudaStorage,
        rl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::forward};
        let out = by_element!(x, forward(&self.geometry, (x, xl), (weight, wl), Some((residual, rl))))?;
        Ok((out, output_shape(&self.geometry)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _residual: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, weight) = self.gradients(x, weight, gradient)?;
        Ok((x, weight, Some(gradient.clone())))
    }
}

struct InputGradient(Geometry);

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d_input_gradient"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        wl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, gradient) = (f32_slice(weight, wl)?, f32_slice(gradient, gl)?);
        let out = cpu::convolution::input_gradient(&self.0, weight, gradient);
        Ok((CpuStorage::F32(out), input_shape(&self.0)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        weight: &CudaStorage,
        wl: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::input_gradient};
        let out = by_element!(weight, input_gradient(&self.0, (weight, wl), (gradient, gl)))?;
        Ok((out, input_shape(&self.0)))
    }
}

struct WeightGradient(Geometry);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d_weight_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gradient) = (f32_slice(x, xl)?, f32_slice(gradient, gl)?);
        let out = cpu::convolution::weight_gradient(&self.0, x, gradient);
        Ok((CpuStorage::F32(out), weight_shape(&self.0)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::weight_gradient};
        let out = by_element!(x, weight_gradient(&self.0, (x, xl), (gradient, gl)))?;
        Ok((out, weight_shape(&self.0)))
    }
}

/// `x + bias`: adds `bias` (C) along the last axis of `x` (..., C).
///
/// # Errors
/// If `bias` does not have as many elements as the last axis of `x`.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    if bias.dims() != [channels] {
        return Err(error::shape("add_bias", format!("bias of {channels} elements"), bias));
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias { needs_bias: bias.track_op() })
}

struct AddBias {
    needs_bias: bool,
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = cpu::elementwise::add_bias(f32_slice(x, xl)?, f32_slice(bias, bl)?);
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        bias: &CudaStorage,
        bl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((crate::cuda::elementwise::add_bias(x, xl, bias, bl)?, xl.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let channels = bias.elem_count();
        let sum = self
            .needs_bias
            .then(|| gradient.contiguous()?.apply_op1_no_bwd(&ColumnSum { channels }))
            .transpose()?;
        Ok((Some(gradient.clone()), sum))
    }
}

/// Sum over everything but the last axis.
struct ColumnSum {
    channels: usize,
}

impl CustomOp1 for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = cpu::batch_norm::column_sum(f32_slice(x, xl)?, self.channels);
        Ok((CpuStorage::F32(out), Shape::from(self.channels)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        let out = crate::cuda::batch_norm::column_sum(x, xl, self.channels)?;
        Ok((out, Shape::from(self.channels)))
    }
}
