//! What dropout drops.

use crate::adapter::run;
use crate::error;
use crate::operation::Operation;
use candle_core::{DType, Result, Shape, Tensor};

/// The factors of dropout with probability `rate`: 0 for those of `uniforms`, f64 in `[0, 1)`, that are below
/// it, otherwise `1 / (1 - rate)`, which makes up for what is dropped. f32, of the same shape. They have no
/// gradient.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let uniforms = Tensor::new(&[0.1, 0.2, 0.9], &Device::Cpu)?;
/// let factors = robustseg_ops::dropout_factors(&uniforms, 0.2)?;
/// assert_eq!(factors.to_vec1::<f32>()?, [0.0, 1.25, 1.25]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `uniforms` are not f64.
pub fn dropout_factors(uniforms: &Tensor, rate: f64) -> Result<Tensor> {
    error::dtype("dropout_factors", DType::F64, uniforms)?;
    run(DropoutFactors { rate }, [uniforms])
}

/// Of uniform numbers.
pub(crate) struct DropoutFactors {
    pub(crate) rate: f64,
}

impl DropoutFactors {
    /// The factor of what is kept.
    pub(crate) fn kept(&self) -> f32 {
        (1.0 / (1.0 - self.rate)) as f32
    }
}

impl Operation<1> for DropoutFactors {
    const NAME: &'static str = "dropout_factors";

    fn shape(&self, [uniforms]: [&Shape; 1]) -> Shape {
        uniforms.clone()
    }
}
