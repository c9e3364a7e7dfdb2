//! Batch norm, `ReLU` and convolution as one operation, the unit of a pre-activation network.

use crate::batch_norm::BatchNormRelu;
use crate::convolution::{Conv2d, geometry, output_shape};
use crate::cpu::{self, f32_slice, workspace};
use crate::{BatchNorm, Conv2dConfig};
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
        let (factors, offsets) = f32_slice(parameters, pl)?.split_at(xl.dims()[3]);
        let x = f32_slice(x, xl)?;
        let mut activated = workspace::take(x.len());
        self.normalise.output(&mut activated, x, factors, offsets)?;
        let g = &self.convolve.geometry;
        let out = cpu::convolution::forward(g, &activated, f32_slice(weight, wl)?, None);
        Ok((CpuStorage::F32(out), output_shape(g)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        parameters: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (factors, offsets) = (parameters.get(0)?, parameters.get(1)?);
        let activated = x.apply_op3_no_bwd(&factors, &offsets, &self.normalise)?;
        let (inner, weight) = self.convolve.gradients(&activated, weight, gradient)?;
        let Some(inner) = inner else {
            return Ok((None, None, weight));
        };
        let (x, factors, offsets) = self.normalise.bwd(x, &factors, &offsets, &activated, &inner)?;
        let parameters = factors.zip(offsets).map(|(factors, offsets)| Tensor::stack(&[factors, offsets], 0));
        Ok((x, parameters.transpose()?, weight))
    }
}
