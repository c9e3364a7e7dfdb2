//! Two-dimensional convolution, channels last.

use crate::adapter::{apply, run};
use crate::arithmetic::Arithmetic;
use crate::channels::ColumnSum;
use crate::error;
use crate::geometry::{Conv2dConfig, Geometry};
use crate::operation::{Backward, OnCpu, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// Convolution of `x` (N, H, W, I) with `weight` (O, KH, KW, I), giving (N, OH, OW, O).
///
/// Cost: `N * OH * OW * O * KH * KW * I` multiply-adds, and as many for each gradient. Detached
/// arguments get no gradient.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use robustseg_ops::{Arithmetic, Conv2dConfig, conv2d};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::ones((1, 3, 4, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let weight = Tensor::ones((5, 3, 3, 2), candle_core::DType::F32, &Device::Cpu)?;
/// let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
/// let y = conv2d(&x, &weight, config, Arithmetic::default())?;
/// assert_eq!(y.dims(), [1, 3, 4, 5]);
/// // The centre sees nine pixels of two channels, a corner four.
/// assert_eq!(y.get(0)?.get(1)?.get(1)?.to_vec1::<f32>()?, [18.0; 5]);
/// assert_eq!(y.get(0)?.get(0)?.get(0)?.to_vec1::<f32>()?, [8.0; 5]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit each other, or the kernel is larger than the padded input.
pub fn conv2d(x: &Tensor, weight: &Tensor, config: Conv2dConfig, arithmetic: Arithmetic) -> Result<Tensor> {
    let geometry = Geometry::new("conv2d", x, weight, config)?;
    apply(Conv2d { geometry, arithmetic }, [x, weight])
}

/// `residual + conv2d(x, weight)`, which writes the output once. `residual` is (N, OH, OW, O).
///
/// # Errors
/// As [`conv2d`], and if `residual` does not have the shape of the output.
pub fn conv2d_add(
    x: &Tensor,
    weight: &Tensor,
    config: Conv2dConfig,
    residual: &Tensor,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    let geometry = Geometry::new("conv2d_add", x, weight, config)?;
    let output = geometry.output_shape();
    if residual.shape() != &output {
        let expected = format!("residual of shape {:?}", output.dims());
        return Err(error::shape("conv2d_add", expected, residual));
    }
    apply(Conv2d { geometry, arithmetic }, [x, weight, residual])
}

/// `conv2d(x, weight) + bias`. The CPU writes the output once, a GPU adds the bias in place. `bias` is
/// (O), f32.
///
/// # Errors
/// As [`conv2d`], and if `bias` does not have O elements of f32.
pub fn conv2d_bias(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    config: Conv2dConfig,
    arithmetic: Arithmetic,
) -> Result<Tensor> {
    let geometry = Geometry::new("conv2d_bias", x, weight, config)?;
    let outputs = geometry.output[2];
    if bias.dims() != [outputs] {
        return Err(error::shape("conv2d_bias", format!("bias of {outputs} elements"), bias));
    }
    error::dtype("conv2d_bias", DType::F32, bias)?;
    apply(Conv2dBias(Conv2d { geometry, arithmetic }), [x, weight, bias])
}

/// A convolution of (input, weight), or of (input, weight, residual).
#[derive(Clone, Copy)]
pub(crate) struct Conv2d {
    pub(crate) geometry: Geometry,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "GPUs alone have a choice"))]
    pub(crate) arithmetic: Arithmetic,
}

impl Conv2d {
    /// The gradient of the input.
    pub(crate) fn input_gradient(self, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        run(InputGradient(self), [weight, gradient])
    }

    /// The gradients of the input and of the weight, the first two, each if it is needed, from
    /// `gradient`, that of the convolution's output.
    pub(crate) fn gradients<const N: usize>(
        self,
        backward: &Backward<'_, N>,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let (x, weight) = (backward.inputs[0], backward.inputs[1]);
        // The CPU adds gradients in a pass of its own.
        let on_gpu = x.device().is_cuda();
        let input = || match on_gpu.then(|| backward.take_found(0)).flatten() {
            Some(found) => run(InputGradient(self), [weight, gradient, &found]),
            None => self.input_gradient(weight, gradient),
        };
        let [needs_x, needs_weight] = [backward.needs[0], backward.needs[1]];
        Ok([
            needs_x.then(input).transpose()?,
            needs_weight.then(|| run(WeightGradient(self), [x, gradient])).transpose()?,
        ])
    }
}

impl Operation<2> for Conv2d {
    const NAME: &'static str = "conv2d";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 2>) -> Result<[Option<Tensor>; 2]> {
        Self::gradients(*self, backward, backward.gradient)
    }
}

impl Operation<3> for Conv2d {
    const NAME: &'static str = "conv2d_add";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let [x, weight] = Self::gradients(*self, backward, backward.gradient)?;
        Ok([x, weight, backward.needs[2].then(|| backward.gradient.clone())])
    }
}

/// A convolution of (input, weight, bias).
pub(crate) struct Conv2dBias(pub(crate) Conv2d);

impl Operation<3> for Conv2dBias {
    const NAME: &'static str = "conv2d_bias";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.0.geometry.output_shape()
    }

    fn gradients(&self, backward: &Backward<'_, 3>) -> Result<[Option<Tensor>; 3]> {
        let [x, weight] = Conv2d::gradients(self.0, backward, backward.gradient)?;
        let channels = self.0.geometry.output[2];
        let bias = backward.needs[2].then(|| run(ColumnSum { channels }, [backward.gradient]));
        Ok([x, weight, bias.transpose()?])
    }
}

/// The gradient of the input, from (weight, gradient), or from (weight, gradient, a gradient that is
/// added to it).
pub(crate) struct InputGradient(pub(crate) Conv2d);

impl Operation<2> for InputGradient {
    const NAME: &'static str = "conv2d_input_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.0.geometry.input_shape()
    }
}

impl Operation<3> for InputGradient {
    const NAME: &'static str = "conv2d_input_gradient_add";

    fn shape(&self, _: [&Shape; 3]) -> Shape {
        self.0.geometry.input_shape()
    }
}

// See `Conv2d::gradients`.
impl OnCpu<3> for InputGradient {}

/// The gradient of the weight, from (input, gradient).
pub(crate) struct WeightGradient(pub(crate) Conv2d);

impl Operation<2> for WeightGradient {
    const NAME: &'static str = "conv2d_weight_gradient";

    fn shape(&self, _: [&Shape; 2]) -> Shape {
        self.0.geometry.weight_shape()
    }
}
