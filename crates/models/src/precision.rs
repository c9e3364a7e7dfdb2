//! The numbers that a network computes with.

use candle_core::{DType, Result, bail};
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
    /// The type of activations: f32 or bf16. With bf16, convolutions round their weights too.
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
    /// Requires that networks can compute with it.
    pub(crate) fn require(self) -> Result<()> {
        match self.activations {
            DType::F32 | DType::BF16 => Ok(()),
            other => bail!("activations of type {}: expected f32 or bf16", other.as_str()),
        }
    }
}
