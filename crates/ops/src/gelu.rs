//! The Gaussian error linear unit (Hendrycks & Gimpel 2016).

use crate::adapter::{apply, run};
use crate::error;
use crate::operation::{Backward, Operation};
use candle_core::{Result, Shape, Tensor};

/// `x * P(X <= x)` for a standard normal X, of every element of `x`, f32 or on a GPU bf16, of any
/// shape. This is the exact form, not the one with tanh.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let y = robustseg_ops::gelu(&Tensor::new(&[-10_f32, 0.0, 1.0, 10.0], &Device::Cpu)?)?;
/// let y = y.to_vec1::<f32>()?;
/// assert!(y[0].abs() < 1e-6 && y[1] == 0.0 && (y[2] - 0.841_344_7).abs() < 1e-6 && y[3] == 10.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the elements have another type.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    error::activation("gelu", x)?;
    apply(Gelu, [x])
}

pub(crate) struct Gelu;

impl Operation<1> for Gelu {
    const NAME: &'static str = "gelu";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(run(GeluGradient, [backward.inputs[0], backward.gradient])?)])
    }
}

/// The gradient of the input, from (input, gradient).
pub(crate) struct GeluGradient;

impl Operation<2> for GeluGradient {
    const NAME: &'static str = "gelu_gradient";

    fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
        x.clone()
    }
}
