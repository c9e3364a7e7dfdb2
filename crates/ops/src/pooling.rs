//! Maximum pooling and adaptive average pooling, channels last.

use crate::cpu::pooling::{MaxPool, Regions};
use crate::cpu::{self, f32_slice};
use crate::error::{self, dims4};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

/// Largest value under a square window of `kernel` pixels, each `stride` pixels, with `padding` pixels of minus
/// infinity around; `x` (N, H, W, C) to (N, OH, OW, C) with `OH = (H + 2 padding - kernel) / stride + 1`.
///
/// The gradient goes to the first largest value of a window, as PyTorch's does.
///
/// # Errors
/// If the window does not fit into the padded input, is larger than 15, or `padding` exceeds half the kernel.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (_, height, width, channels) = dims4("max_pool2d", "input (N, H, W, C)", x)?;
    error::activation("max_pool2d", x)?;
    // The place in a window is kept in a byte, of which 255 means none.
    if !(1..16).contains(&kernel) || stride == 0 || padding * 2 > kernel {
        candle_core::bail!(
            "max_pool2d: expected a kernel of 1 to 15, a stride of at least 1 and padding of at most half the kernel, \
             found kernel {kernel}, stride {stride}, padding {padding}"
        );
    }
    let size = |input: usize| {
        (input + 2 * padding).checked_sub(kernel).map(|rest| rest / stride + 1).ok_or_else(|| {
            error::shape("max_pool2d", format!("input no smaller than the window {kernel}"), x)
        })
    };
    let output = [size(height)?, size(width)?];
    let geometry = MaxPool { input: [height, width, channels], output, kernel, stride, padding };
    x.contiguous()?.apply_op1(Max(geometry))
}

struct Max(MaxPool);

impl CustomOp1 for Max {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let g = &self.0;
        let out = cpu::pooling::max_pool(g, f32_slice(x, xl)?);
        let images = xl.dims()[0];
        Ok((CpuStorage::F32(out), Shape::from((images, g.output[0], g.output[1], g.input[2]))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, pooling::max_pool};
        let g = &self.0;
        let out = by_element!(x, max_pool(g, x, xl))?;
        Ok((out, Shape::from((xl.dims()[0], g.output[0], g.output[1], g.input[2]))))
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.apply_op3_no_bwd(out, &gradient.contiguous()?, &MaxGradient(self.0))?))
    }
}

struct MaxGradient(MaxPool);

impl CustomOp3 for MaxGradient {
    fn name(&self) -> &'static str {
        "max_pool2d_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        out: &CpuStorage,
        ol: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, out, gradient) = (f32_slice(x, xl)?, f32_slice(out, ol)?, f32_slice(gradient, gl)?);
        let result = cpu::pooling::max_pool_gradient(&self.0, x, out, gradient);
        Ok((CpuStorage::F32(result), xl.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        xl: &Layout,
        out: &CudaStorage,
        ol: &Layout,
        gradient: &CudaStorage,
        gl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, pooling::max_pool_gradient};
        let result = by_element!(x, max_pool_gradient(&self.0, x, xl, out, ol, gradient, gl))?;
        Ok((result, xl.shape().clone()))
    }
}

/// The levels of a pyramid: for each of `bins`, level by level, the means over `bins` x `bins` regions of `x` (N, H, W, C),
/// row by row; together (N, sum of `bins` squared, C), which is what [`conv2d_pyramid`](crate::conv2d_pyramid) takes. Region
/// i of a size that `bins` does not divide reaches from `floor(i * size / bins)` to `ceil((i + 1) * size / bins)`, as in
/// PyTorch, so that regions may overlap and a map smaller than `bins` repeats its pixels. Cost: `x` is read once, its
/// gradient written once, whatever the number of levels.
///
/// # Errors
/// If there is no level, one of 0 bins, or `x` does not have four axes.
pub fn adaptive_avg_pool2d(x: &Tensor, bins: &[usize]) -> Result<Tensor> {
    let (_, height, width, channels) = dims4("adaptive_avg_pool2d", "input (N, H, W, C)", x)?;
    error::activation("adaptive_avg_pool2d", x)?;
    if bins.is_empty() || bins.contains(&0) {
        candle_core::bail!("adaptive_avg_pool2d: expected levels of at least 1 bin, found {bins:?}");
    }
    let input = [height, width, channels];
    let op = AdaptiveAverage { input, bins: bins.to_vec(), regions: Regions::new(input, bins) };
    x.contiguous()?.apply_op1(op)
}

struct AdaptiveAverage {
    input: [usize; 3],
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    bins: Vec<usize>,
    regions: Regions,
}

impl CustomOp1 for AdaptiveAverage {
    fn name(&self) -> &'static str {
        "adaptive_avg_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = cpu::pooling::adaptive_average(f32_slice(x, xl)?, &self.regions);
        let shape = Shape::from((xl.dims()[0], self.regions.count(), self.input[2]));
        Ok((CpuStorage::F32(out), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, xl: &Layout) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, pooling::adaptive_average};
        let out = by_element!(x, adaptive_average(x, xl, self.input, &self.bins))?;
        Ok((out, Shape::from((xl.dims()[0], self.regions.count(), self.input[2]))))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.contiguous()?.apply_op1_no_bwd(&AdaptiveAverageGradient(self))?))
    }
}

struct AdaptiveAverageGradient<'a>(&'a AdaptiveAverage);

impl CustomOp1 for AdaptiveAverageGradient<'_> {
    fn name(&self) -> &'static str {
        "adaptive_avg_pool2d_gradient"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let AdaptiveAverage { input, regions, .. } = self.0;
        let out = cpu::pooling::adaptive_average_gradient(f32_slice(gradient, gl)?, regions);
        let shape = Shape::from((gl.dims()[0], input[0], input[1], input[2]));
        Ok((CpuStorage::F32(out), shape))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, gradient: &CudaStorage, gl: &Layout) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::{by_element, pooling::adaptive_average_gradient};
        let AdaptiveAverage { input, bins, .. } = self.0;
        let out = by_element!(gradient, adaptive_average_gradient(gradient, gl, *input, bins))?;
        Ok((out, Shape::from((gl.dims()[0], input[0], input[1], input[2]))))
    }
}
