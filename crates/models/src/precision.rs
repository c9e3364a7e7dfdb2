//! The numbers that a network computes with.

use candle_core::{DType, Device, Result, bail};
use robustseg_ops::Arithmetic;

/// The numbers that a network computes with. Variables, statistics, sums, logits and gradients of
/// variables are always f32.
///
/// ```
/// use robustseg_models::Precision;
/// use robustseg_ops::{Arithmetic, Factors};
/// let arithmetic = Arithmetic { factors: Factors::Tf32, ..Arithmetic::default() };
/// let tf32 = Precision { arithmetic, ..Precision::default() };
/// assert_eq!(tf32.activations, candle_core::DType::F32);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// The type of activations: f32, or on a GPU bf16. With bf16, convolutions round their weights
    /// too.
    pub activations: DType,
    /// How convolutions multiply.
    pub arithmetic: Arithmetic,
}

impl Default for Precision {
    fn default() -> Self {
        Self { activations: DType::F32, arithmetic: Arithmetic::default() }
    }
}

impl Precision {
    /// Requires that `device` can compute with it.
    pub(crate) fn require_on(self, device: &Device) -> Result<()> {
        let known = self.activations == DType::F32 || self.activations == DType::BF16 && device.is_cuda();
        if !known {
            bail!(
                "activations of type {} on {}: expected f32, or on a GPU bf16",
                self.activations.as_str(),
                if device.is_cuda() { "a GPU" } else { "the CPU" }
            );
        }
        Ok(())
    }
}
