//! Depthwise convolution, channels last: every channel has a kernel of its own.

use crate::adapter::{apply, run};
use crate::channels::ColumnSum;
use crate::error::{self, dims4};
use crate::geometry::{Conv2dConfig, Geometry};
use crate::operation::{Backward, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// Convolution of each channel of `x` (N, H, W, C) with its own kernel in `weight` (C, KH, KW, 1),
/// plus `bias` (C), giving (N, OH, OW, C). `x` is f32 or on a GPU bf16, `weight` and `bias` are f32.
///
/// Cost: `N * OH * OW * C * KH * KW` multiply-adds, and as many for each gradient. Detached
/// arguments get no gradient.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use robustseg_ops::{Conv2dConfig, depthwise_conv2d};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::ones((1, 4, 5, 2), DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((2, 3, 3, 1), DType::F32, &Device::Cpu)?;
/// let bias = Tensor::new(&[0_f32, 10.0], &Device::Cpu)?;
/// let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
/// let y = depthwise_conv2d(&x, &weight, &bias, config)?;
/// assert_eq!(y.get(0)?.get(1)?.get(1)?.to_vec1::<f32>()?, [9.0, 19.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes or types do not fit each other, or the kernel is larger than the padded input.
pub fn depthwise_conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, config: Conv2dConfig) -> Result<Tensor> {
    const NAME: &str = "depthwise_conv2d";
    let (_, _, _, channels) = dims4(NAME, "input (N, H, W, C)", x)?;
    let (outputs, _, _, inputs) = dims4(NAME, "weight (C, KH, KW, 1)", weight)?;
    if (outputs, inputs) != (channels, 1) {
        return Err(error::shape(NAME, format!("weight ({channels}, KH, KW, 1)"), weight));
    }
    if bias.dims() != [channels] {
        return Err(error::shape(NAME, format!("bias of {channels} elements"), bias));
    }
    error::activation(NAME, x)?;
    for tensor in [weight, bias] {
        error::dtype(NAME, DType::F32, tensor)?;
    }
    let geometry = Geometry::of(NAME, &x.narrow(3, 0, 1)?, weight, config)?;
    apply(Depthwise(geometry), [x, weight, bias])
}

/// Of (input, weight, bias). The geometry is that of the convolution of one channel to all.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise(pub(crate) Geometry);

impl Operation<3> for Depthwise {
    const NAME: &'static str = "depthwise_conv2d";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.0.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let ([x, weight, _], gradient) = (backward.inputs, backward.gradient);
        let [needs_x, needs_weight, needs_bias] = backward.needs;
        let channels = self.0.output[2];
        Ok([
            needs_x.then(|| run(DepthwiseInputGradient(self.0), [gradient, weight])).transpose()?,
            needs_weight.then(|| run(DepthwiseWeightGradient(self.0), [x, gradient])).transpose()?,
            needs_bias.then(|| run(ColumnSum { channels }, [gradient])).transpose()?,
        ])
    }
}

/// The gradient of the input, from (gradient, weight).
pub(crate) struct DepthwiseInputGradient(pub(crate) Geometry);

impl Operation<2> for DepthwiseInputGradient {
    const NAME: &'static str = "depthwise_conv2d_input_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        let Geometry { batch, input, output, .. } = self.0;
        Shape::from((batch, input[0], input[1], output[2]))
    }
}

/// The gradient of the weight, from (input, gradient).
pub(crate) struct DepthwiseWeightGradient(pub(crate) Geometry);

impl Operation<2> for DepthwiseWeightGradient {
    const NAME: &'static str = "depthwise_conv2d_weight_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.0.weight_shape()
    }
}
