//! The convolution behind pyramid pooling (Zhao et al. 2017), which never builds the upsampled
//! maps.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::error::{self, dims4};
use crate::geometry::{Conv2dConfig, Geometry};
use crate::operation::{Backward, Operation};
use crate::pyramid_geometry::PyramidGeometry;
use crate::resize::Alignment;
use candle_core::{Result, Shape, Tensor};

/// Convolution of a map together with upsampled small ones:
/// `conv2d(cat(x, up(level 0), up(level 1), ...), weight)` at stride 1, padded to keep the size.
///
/// `x` is (N, H, W, I). `levels` (N, P, L) holds the pixels of one square map of `bins[i]` x
/// `bins[i]` after the other, row by row, P in all. `weight` is (O, K, K, I + L * number of levels)
/// with odd K, the result (N, H, W, O).
///
/// Convolution and bilinear upsampling are both linear. The small maps are therefore multiplied by
/// the taps of the kernel first, and one matrix of interpolation weights brings the products to
/// their places. Detached arguments get no gradient. Cost, in multiply-adds:
/// `N * H * W * O * K * K * (I + P)` and `N * P * O * K * K * L`, instead of
/// `N * H * W * O * K * K * (I + L * number of levels)`. Each gradient costs as much.
///
/// # Errors
/// If the shapes do not fit each other, or K is even.
pub fn conv2d_pyramid(
    x: &Tensor,
    levels: &Tensor,
    weight: &Tensor,
    bins: &[usize],
    alignment: Alignment,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    let pyramid = geometry([x, levels, weight], bins, alignment, arithmetic)?;
    apply(PyramidConvolution(pyramid), [x, levels, weight])
}

fn geometry(
    [x, levels, weight]: [&Tensor; 3],
    bins: &[usize],
    alignment: Alignment,
    arithmetic: Arithmetic,
) -> Result<PyramidGeometry> {
    const NAME: &str = "conv2d_pyramid";
    let (images, _, _, inputs) = dims4(NAME, "input (N, H, W, I)", x)?;
    let (_, kernel, kernel_width, channels) = dims4(NAME, "weight (O, K, K, all channels)", weight)?;
    error::activation(NAME, x)?;
    error::dtype(NAME, x.dtype(), levels)?;
    error::weight(NAME, x, weight)?;
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
    let plain = Geometry::new(NAME, x, &weight.narrow(3, 0, inputs)?, config)?;
    Ok(PyramidGeometry { plain, arithmetic, bins: bins.to_vec(), level_channels, alignment })
}

/// Of (map, levels, weight).
pub(crate) struct PyramidConvolution(pub(crate) PyramidGeometry);

impl Operation<3> for PyramidConvolution {
    const NAME: &'static str = "conv2d_pyramid";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.0.plain.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let ([x, levels, weight], gradient) = (backward.inputs, backward.gradient);
        let ([needs_x, needs_levels, needs_weight], pyramid) = (backward.needs, &self.0);
        let input = needs_x.then(|| run(InputGradient(pyramid), [weight, gradient])).transpose()?;
        if !needs_levels && !needs_weight {
            return Ok([input, None, None]);
        }
        let products = run(ProductsGradient(pyramid), [gradient])?;
        let small =
            needs_levels.then(|| run(LevelsGradient(pyramid), [weight, &products])?.to_dtype(levels.dtype()));
        let weights = needs_weight.then(|| {
            let operation = WeightGradient { pyramid, products: &products };
            run(operation, [x, levels, gradient])
        });
        Ok([input, small.transpose()?, weights.transpose()?])
    }
}

/// The gradient of the map, from (weight, gradient).
pub(crate) struct InputGradient<'a>(pub(crate) &'a PyramidGeometry);

impl Operation<2> for InputGradient<'_> {
    const NAME: &'static str = "conv2d_pyramid_input_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.0.plain.input_shape()
    }
}

/// The gradient of the products of levels and taps (N, taps, P, O), which the gradients of both
/// levels and weight need.
pub(crate) struct ProductsGradient<'a>(pub(crate) &'a PyramidGeometry);

impl Operation<1> for ProductsGradient<'_> {
    const NAME: &'static str = "conv2d_pyramid_products_gradient";

    fn shape(&self, _: [&Shape; 1]) -> Shape {
        let g = &self.0.plain;
        Shape::from((g.batch, self.0.taps(), self.0.positions(), g.output[2]))
    }
}

/// The gradient of the levels, from (weight, gradient of the products).
pub(crate) struct LevelsGradient<'a>(pub(crate) &'a PyramidGeometry);

impl Operation<2> for LevelsGradient<'_> {
    const NAME: &'static str = "conv2d_pyramid_levels_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        Shape::from((self.0.plain.batch, self.0.positions(), self.0.level_channels))
    }
}

/// The gradient of the weight, from (map, levels, gradient).
pub(crate) struct WeightGradient<'a> {
    pub(crate) pyramid: &'a PyramidGeometry,
    /// The gradient of the products.
    pub(crate) products: &'a Tensor,
}

impl Operation<3> for WeightGradient<'_> {
    const NAME: &'static str = "conv2d_pyramid_weight_gradient";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        let g = &self.pyramid.plain;
        Shape::from((g.output[2], g.kernel[0], g.kernel[1], self.pyramid.channels()))
    }
}
