//! Convolution of an upsampled map, which never builds that map.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::convolution::conv2d;
#[cfg(feature = "cuda")]
use crate::convolution::conv2d_add;
use crate::error::{self, dims4};
use crate::geometry::Conv2dConfig;
#[cfg(feature = "cuda")]
use crate::operation::OnGpu;
use crate::operation::{Backward, Operation};
use crate::resize::{Alignment, Resize};
#[cfg(feature = "cuda")]
use crate::upsample::upsample_bilinear;
use candle_core::{Result, Shape, Tensor};

/// `residual + conv2d(upsample_bilinear(x), weight)` at stride 1, padded to keep the size.
///
/// `x` is (N, h, w, I), `weight` (O, K, K, I) with odd K, `residual` (N, H, W, O), f32
/// or on a GPU bf16. Convolution
/// and bilinear upsampling are both linear. The small map is therefore multiplied by the taps of the
/// kernel first, and the products are brought to their places. Detached arguments get no gradient.
/// Cost: `N * h * w * O * K * K * I` multiply-adds instead of `N * H * W * O * K * K * I`, and as
/// many for each gradient.
///
/// # Errors
/// If the shapes or types do not fit each other, or K is even.
pub fn conv2d_upsampled_add(
    x: &Tensor,
    weight: &Tensor,
    residual: &Tensor,
    alignment: Alignment,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    const NAME: &str = "conv2d_upsampled_add";
    let (images, h, w, inputs) = dims4(NAME, "input (N, h, w, I)", x)?;
    let (outputs, kernel, kernel_width, weight_inputs) = dims4(NAME, "weight (O, K, K, I)", weight)?;
    let (residual_images, height, width, channels) = dims4(NAME, "residual (N, H, W, O)", residual)?;
    error::activation(NAME, x)?;
    error::weight(NAME, x, weight)?;
    error::dtype(NAME, x.dtype(), residual)?;
    if kernel != kernel_width || kernel % 2 == 0 {
        return Err(error::shape(NAME, "weight with a square kernel of odd size", weight));
    }
    if weight_inputs != inputs {
        return Err(error::shape(NAME, format!("weight with {inputs} input channels"), weight));
    }
    if (residual_images, channels) != (images, outputs) {
        return Err(error::shape(NAME, format!("residual ({images}, H, W, {outputs})"), residual));
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
        let x = upsample_bilinear(x, height, width, alignment)?;
        return conv2d_add(&x, weight, config, residual, arithmetic);
    }
    let taps =
        weight.permute((1, 2, 0, 3))?.contiguous()?.reshape((kernel * kernel * outputs, 1, 1, inputs))?;
    let products = conv2d(x, &taps, Conv2dConfig::default(), arithmetic)?;
    let resize = Resize { source: [h, w], target: [height, width], channels: outputs, alignment };
    apply(SpreadTaps { resize, kernel }, [&products, residual])
}

/// Of (products of map and taps (N, h, w, K K O), residual (N, H, W, O)): each tap's products
/// upsampled, shifted by the tap, and added to the residual.
#[derive(Clone, Copy)]
pub(crate) struct SpreadTaps {
    pub(crate) resize: Resize,
    pub(crate) kernel: usize,
}

impl Operation<2> for SpreadTaps {
    const NAME: &'static str = "conv2d_upsampled_add";

    fn shape(&self, [_, residual]: [&Shape; 2]) -> Shape {
        residual.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        let (gradient, [needs_products, needs_residual]) = (backward.gradient, backward.needs);
        let products = needs_products.then(|| run(SpreadTapsGradient(*self), [gradient])).transpose()?;
        Ok([products, needs_residual.then(|| gradient.clone())])
    }
}

/// The gradient of the products.
pub(crate) struct SpreadTapsGradient(pub(crate) SpreadTaps);

impl Operation<1> for SpreadTapsGradient {
    const NAME: &'static str = "conv2d_upsampled_add_gradient";

    fn shape(&self, [gradient]: [&Shape; 1]) -> Shape {
        let SpreadTaps { resize: Resize { source: [h, w], channels, .. }, kernel } = self.0;
        Shape::from((gradient.dims()[0], h, w, kernel * kernel * channels))
    }
}

// GPUs build the upsampled map.
#[cfg(feature = "cuda")]
impl OnGpu<2> for SpreadTaps {}
#[cfg(feature = "cuda")]
impl OnGpu<1> for SpreadTapsGradient {}
