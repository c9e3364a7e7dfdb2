//! How a GPU multiplies.

/// How a GPU computes convolutions and matrix products. A network carries it and hands it to its
/// operations. The CPU always computes in f32 and ignores it.
///
/// ```
/// use robustseg_ops::{Arithmetic, ConvolutionChoice};
/// let exact = Arithmetic::default();
/// assert!(!exact.tf32);
/// let fast = Arithmetic { tf32: true, choice: ConvolutionChoice::Measured };
/// assert_ne!(exact, fast);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    /// Rounds f32 factors to ten bits of mantissa, so that the matrix units multiply them.
    /// Otherwise products of f32 are exact to f32. Sums are f32 in both cases, and bf16 factors are
    /// not affected.
    pub tf32: bool,
    /// Who chooses the algorithm of a convolution.
    pub choice: ConvolutionChoice,
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
