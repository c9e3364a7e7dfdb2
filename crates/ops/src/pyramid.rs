//! The convolution behind pyramid pooling (Zhao et al. 2017), without building the upsampled maps.

use crate::cpu::{self, f32_slice, pyramid::Pyramid};
use crate::error::{self, dims4};
use crate::{Alignment, Conv2dConfig};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// Convolution of a map beside upsampled small ones: `conv2d(cat(x, up(level 0), up(level 1), ...), weight)` at
/// stride 1, padded to keep the size.
///
/// `x` (N, H, W, I); `levels` (N, P, L), the pixels of one square map of `bins[i]` x `bins[i]` behind the other's, row
/// by row, P in all; `weight` (O, K, K, I + L * number of levels) with odd K; the result is (N, H, W, O).
///
/// Convolution and bilinear upsampling are both linear: the small maps are multiplied by the taps of the kernel
/// first, and the products are brought to their places by one matrix of interpolation weights. No gradient is computed
/// for an argument that is detached. Cost, in multiply-adds: N * H * W * O * K * K * (I + P) and N * P * O * K * K * L,
/// in place of N * H * W * O * K * K * (I + L * number of levels); as many again for each gradient.
///
/// # Errors
/// If the shapes do not fit each other, or K is even.
pub fn conv2d_pyramid(
    x: &Tensor,
    levels: &Tensor,
    weight: &Tensor,
    bins: &[usize],
    alignment: Alignment,
) -> Result<Tensor> {
    const NAME: &str = "conv2d_pyramid";
    let (images, _, _, inputs) = dims4(NAME, "input (N, H, W, I)", x)?;
    let (_, kernel, kernel_width, channels) = dims4(NAME, "weight (O, K, K, all channels)", weight)?;
    error::activation(NAME, x)?;
    for tensor in [levels, weight] {
        error::dtype(NAME, x.dtype(), tensor)?;
    }
    if kernel != kernel_width || kernel % 2 == 0 {
        return Err(error::shape(NAME, "weight with a square kernel of odd size", weight));
    }
    let positions: usize = bins.iter().map(|bins| bins * bins).sum();
    let level_channels = match *levels.dims() {
        [n, p, channels] if n == images && p == positions && channels > 0 && !bins.contains(&0) => channels,
        _ => return Err(error::shape(NAME, format!("levels ({images}, {positions}, L)"), levels)),
    };
    if channels != inputs + level_channels * bins.len() {
        let expected = format!("weight with {} input channels", inputs + level_channels * bins.len());
        return Err(error::shape(NAME, expected, weight));
    }
    let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
    let plain = crate::convolution::geometry(NAME, x, &weight.narrow(3, 0, inputs)?, config)?;
    let pyramid = Pyramid { plain, bins: bins.to_vec(), level_channels, alignment };
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::pyramid::convolve(&pyramid, x, levels, weight);
    }
    let op = PyramidConvolution { pyramid, needs: [x, levels, weight].map(Tensor::track_op) };
    x.contiguous()?.apply_op3(&levels.contiguous()?, &weight.contiguous()?, op)
}

struct PyramidConvolution {
    pyramid: Pyramid,
    /// Whether the gradient of each argument is wanted.
    needs: [bool; 3],
}

impl CustomOp3 for PyramidConvolution {
    fn name(&self) -> &'static str {
        "conv2d_pyramid"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        levels: &CpuStorage,
        ll: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, levels, weight) = (f32_slice(x, xl)?, f32_slice(levels, ll)?, f32_slice(weight, wl)?);
        let out = cpu::pyramid::forward(&self.pyramid, x, levels, weight);
        let g = &self.pyramid.plain;
        Ok((CpuStorage::F32(out), Shape::from((g.batch, g.output[0], g.output[1], g.output[2]))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        levels: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (gradient, pyramid) = (gradient.contiguous()?, &self.pyramid);
        let [needs_x, needs_levels, needs_weight] = self.needs;
        let input =
            needs_x.then(|| weight.apply_op2_no_bwd(&gradient, &InputGradient(pyramid))).transpose()?;
        if !needs_levels && !needs_weight {
            return Ok((input, None, None));
        }
        let products = gradient.apply_op1_no_bwd(&ProductsGradient(pyramid))?;
        let small = needs_levels.then(|| weight.apply_op2_no_bwd(&products, &LevelsGradient(pyramid)));
        let weights = needs_weight.then(|| {
            let op = WeightGradient { pyramid, products: &products };
            x.apply_op3_no_bwd(levels, &gradient, &op)
        });
        Ok((input, small.transpose()?, weights.transpose()?))
    }
}

struct InputGradient<'a>(&'a Pyramid);

impl CustomOp2 for InputGradient<'_> {
    fn name(&self) -> &'static str {
        "conv2d_pyramid_input_gradient"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        wl: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, gradient) = (f32_slice(weight, wl)?, f32_slice(gradient, gl)?);
        let out = cpu::pyramid::input_gradient(self.0, weight, gradient);
        let g = &self.0.plain;
        Ok((CpuStorage::F32(out), Shape::from((g.batch, g.input[0], g.input[1], g.input[2]))))
    }
}

/// The gradient of the products of levels and taps (N, taps, P, O), which both levels and weight need.
struct ProductsGradient<'a>(&'a Pyramid);

impl CustomOp1 for ProductsGradient<'_> {
    fn name(&self) -> &'static str {
        "conv2d_pyramid_products_gradient"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = cpu::pyramid::products_gradient(self.0, f32_slice(gradient, gl)?);
        let g = &self.0.plain;
        Ok((CpuStorage::F32(out), Shape::from((g.batch, self.0.taps(), self.0.positions(), g.output[2]))))
    }
}

struct LevelsGradient<'a>(&'a Pyramid);

impl CustomOp2 for LevelsGradient<'_> {
    fn name(&self) -> &'static str {
        "conv2d_pyramid_levels_gradient"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        wl: &Layout,
        products: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, products) = (f32_slice(weight, wl)?, f32_slice(products, pl)?);
        let out = cpu::pyramid::levels_gradient(self.0, weight, products);
        let shape = Shape::from((self.0.plain.batch, self.0.positions(), self.0.level_channels));
        Ok((CpuStorage::F32(out), shape))
    }
}

struct WeightGradient<'a> {
    pyramid: &'a Pyramid,
    /// [`ProductsGradient`]'s result.
    products: &'a Tensor,
}

impl CustomOp3 for WeightGradient<'_> {
    fn name(&self) -> &'static str {
        "conv2d_pyramid_weight_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        levels: &CpuStorage,
        ll: &Layout,
        gradient: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, levels, gradient) = (f32_slice(x, xl)?, f32_slice(levels, ll)?, f32_slice(gradient, gl)?);
        let products = self.products.flatten_all()?.to_vec1::<f32>()?;
        let out = cpu::pyramid::weight_gradient(self.pyramid, x, levels, gradient, &products);
        let g = &self.pyramid.plain;
        let shape = Shape::from((g.output[2], g.kernel[0], g.kernel[1], self.pyramid.channels()));
        Ok((CpuStorage::F32(out), shape))
    }
}
