//! Contiguous copies of views.

use crate::adapter::apply;
use crate::operation::{Backward, OnCpu, Operation};
use candle_core::{DType, Result, Shape, Tensor};

/// `x` with its elements one after the other, a copy unless it is so already. A GPU copies views of up to
/// four axes by one kernel, where candle first uploads their strides.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// assert!(robustseg_ops::contiguous(&x.t()?)?.is_contiguous());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is no memory.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    let is_ours = x.device().is_cuda() && matches!(x.dtype(), DType::F32 | DType::BF16) && x.rank() <= 4;
    if x.is_contiguous() || !is_ours {
        return x.contiguous();
    }
    apply(Contiguous, [x])
}

/// Of one tensor.
pub(crate) struct Contiguous;

impl Operation<1> for Contiguous {
    const NAME: &'static str = "contiguous";
    const STRIDED: bool = true;

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        x.clone()
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(backward.gradient.clone())])
    }
}

// See `contiguous`.
impl OnCpu<1> for Contiguous {}
