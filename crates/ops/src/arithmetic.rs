//! How convolutions multiply.

/// How a GPU computes convolutions and other matrix products. A network carries it and hands it to
/// its operations. Sums are always f32. The CPU multiplies what it gets: f32, or with activations of
/// bf16 factors of bf16.
///
/// ```
/// use robustseg_ops::{Arithmetic, ConvolutionChoice, Factors};
/// let exact = Arithmetic::default();
/// assert_eq!(exact.factors, Factors::F32);
/// let fast = Arithmetic { factors: Factors::Tf32, choice: ConvolutionChoice::Measured };
/// assert_ne!(exact, fast);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    /// To what f32 factors are rounded. Factors that are bf16 already are not affected.
    pub factors: Factors,
    /// Who chooses the algorithm of a convolution on a GPU.
    pub choice: ConvolutionChoice,
}

/// To what f32 factors are rounded before they are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Factors {
    /// They are not rounded.
    #[default]
    F32,
    /// On a GPU to ten bits of mantissa, so that the matrix units multiply them. The CPU does not
    /// round them.
    Tf32,
}

/// Who chooses among cuDNN's algorithms for a convolution. An algorithm whose result depends on the
/// order in which the GPU's threads run is taken only if there is no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvolutionChoice {
    /// cuDNN's prediction. It is the same at every start of the program, so a resumed run computes
    /// the same bits.
    #[default]
    Predicted,
    /// The fastest algorithm, measured once for each shape. The next start may measure another one,
    /// which rounds differently.
    Measured,
}
