//! Batch norm, `ReLU` and convolution as one operation, the unit of a pre-activation network.

use crate::batch_norm::BatchNormRelu;
use crate::convolution::{Conv2d, geometry, output_shape, weight_shape};
use crate::cpu::workspace::{self, Workspace};
use crate::cpu::{self, f32_slice};
use crate::{BatchNorm, Conv2dConfig};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

/// `conv2d(batch_norm_relu(x, norm), weight, config)`, with the same gradients.
///
/// The activated map between the two is not kept for the backward pass, which computes it again, and no gradient is
/// accumulated for it. `x` (N, H, W, I), `weight` (O, KH, KW, I), the result (N, OH, OW, O).
///
/// # Errors
/// As [`batch_norm_relu`](crate::batch_norm_relu) and [`conv2d`](crate::conv2d).
pub fn batch_norm_relu_conv2d(
    x: &Tensor,
    norm: BatchNorm<'_>,
    weight: &Tensor,
    config: Conv2dConfig,
) -> Result<Tensor> {
    let normalise = BatchNormRelu::new(x, norm)?;
    let parameters = Tensor::stack(&[norm.weight, norm.bias], 0)?;
    let convolve = Conv2d {
        geometry: geometry("batch_norm_relu_conv2d", x, weight, config)?,
        needs: [x.track_op() || parameters.track_op(), weight.track_op()],
    };
    x.contiguous()?.apply_op3(&parameters, &weight.contiguous()?, NormConvolution { normalise, convolve })
}

struct NormConvolution {
    normalise: BatchNormRelu,
    convolve: Conv2d,
}

impl NormConvolution {
    /// What the convolution convolves.
    fn activated(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        parameters: &CpuStorage,
        pl: &Layout,
    ) -> Result<Workspace> {
        let (weight, bias) = f32_slice(parameters, pl)?.split_at(xl.dims()[3]);
        let x = f32_slice(x, xl)?;
        let mut activated = workspace::take(x.len());
        self.normalise.output(&mut activated, x, weight, bias)?;
        Ok(activated)
    }

    /// The same on a GPU.
    #[cfg(feature = "cuda")]
    fn activated_there(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        parameters: &CudaStorage,
        pl: &Layout,
    ) -> Result<CudaStorage> {
        use crate::cuda::{batch_norm::scale_shift_relu, by_element};
        let parameters = crate::batch_norm::halves(parameters, pl)?;
        self.normalise.with_norm(parameters, |norm| by_element!(x, scale_shift_relu(x, xl, norm)))
    }
}

impl CustomOp3 for NormConvolution {
    fn name(&self) -> &'static str {
        "batch_norm_relu_conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        parameters: &CpuStorage,
        pl: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let activated = self.activated(x, xl, parameters, pl)?;
        let g = &self.convolve.geometry;
        let out = cpu::convolution::forward(g, &activated, f32_slice(weight, wl)?, None);
        Ok((CpuStorage::F32(out), output_shape(g)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        parameters: &CudaStorage,
        pl: &Layout,
        weight: &CudaStorage,
        wl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::forward};
        let (activated, al) = (self.activated_there(x, xl, parameters, pl)?, Layout::contiguous(xl.shape()));
        let g = &self.convolve.geometry;
        let out = by_element!(x, forward(g, (&activated, &al), (weight, wl), None))?;
        Ok((out, output_shape(g)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [needs_inner, needs_weight] = self.convolve.needs;
        let kernels = needs_weight
            .then(|| x.apply_op3_no_bwd(parameters, &gradient, &WeightGradient { op: self }))
            .transpose()?;
        if !needs_inner {
            return Ok((None, None, kernels));
        }
        let inner = self.convolve.input_gradient(weight, &gradient)?;
        let parameters = self.normalise.backward(x, parameters, &inner)?;
        Ok((x.track_op().then_some(inner), parameters, kernels))
    }
}

/// The gradient of the convolution's weight from (x, parameters, gradient).
struct WeightGradient<'a> {
    op: &'a NormConvolution,
}

impl CustomOp3 for WeightGradient<'_> {
    fn name(&self) -> &'static str {
        "batch_norm_relu_conv2d_weight_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        parameters: &CpuStorage,
        pl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let activated = self.op.activated(x, xl, parameters, pl)?;
        let g = &self.op.convolve.geometry;
        let out = cpu::convolution::weight_gradient(g, &activated, f32_slice(gradient, gl)?);
        Ok((CpuStorage::F32(out), weight_shape(g)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        parameters: &CudaStorage,
        pl: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, convolution::weight_gradient};
        let activated = self.op.activated_there(x, xl, parameters, pl)?;
        let (g, al) = (&self.op.convolve.geometry, Layout::contiguous(xl.shape()));
        let out = by_element!(x, weight_gradient(g, (&activated, &al), (gradient, gl)))?;
        Ok((out, weight_shape(g)))
    }
}
