//! Numbers in another element type.

#[cfg(feature = "cuda")]
use crate::adapter::apply;
#[cfg(feature = "cuda")]
use crate::operation::{Backward, OnCpu, Operation};
#[cfg(feature = "cuda")]
use candle_core::Shape;
use candle_core::{DType, Result, Tensor};

/// `x` with elements of type `elements`, and its gradient in the type of `x`. On a GPU this is one
/// launch each way for f32 and bf16. Elsewhere, and for other types, it is candle's
/// [`Tensor::to_dtype`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[1_f32, 1.001], &Device::Cpu)?;
/// let rounded = robustseg_ops::convert(&x, DType::BF16)?;
/// assert_eq!(rounded.to_dtype(DType::F32)?.to_vec1::<f32>()?, [1.0, 1.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the device has no such type.
pub fn convert(x: &Tensor, elements: DType) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.dtype() != elements {
        let known = |elements| matches!(elements, DType::F32 | DType::BF16);
        if known(x.dtype()) && known(elements) {
            return apply(Convert(elements), [x]);
        }
    }
    x.to_dtype(elements)
}

#[cfg(feature = "cuda")]
pub(crate) struct Convert(pub(crate) DType);

#[cfg(feature = "cuda")]
impl Operation<1> for Convert {
    const NAME: &'static str = "convert";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        let gradient = || backward.gradient.detach().to_dtype(backward.inputs[0].dtype());
        Ok([backward.needs[0].then(gradient).transpose()?])
    }
}

// candle converts on the CPU.
#[cfg(feature = "cuda")]
impl OnCpu<1> for Convert {}
