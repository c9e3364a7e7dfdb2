//! Records of how convolutions are computed.

/// How one of a convolution's three products is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionRecord {
    /// `output`, `input_gradient` or `weight_gradient`.
    pub product: &'static str,
    /// The type of the tensors' elements: `f32` or `bf16`.
    pub elements: &'static str,
    /// Images in the batch.
    pub batch: usize,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height, width and channels of the output.
    pub output: [usize; 3],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps of the kernel, in pixels of the input.
    pub stride: usize,
    /// Pixels of zeros on each side.
    pub padding: usize,
    /// Pixels of the input between two of the kernel.
    pub dilation: usize,
    /// The library and its number for the algorithm, cuDNN's name of one of its older interface, or
    /// `patches`.
    pub algorithm: String,
    /// cuDNN's name of the arithmetic.
    pub math: Option<String>,
    /// Whether a repetition gives the same bits.
    pub repeatable: bool,
    /// Bytes of memory in addition to the tensors.
    pub workspace: usize,
    /// The measured time.
    pub milliseconds: Option<f32>,
    /// The algorithms that failed before, and why.
    pub dismissed: Vec<String>,
    /// The algorithm of cuDNN's older interface that another one replaced.
    pub instead_of: Option<String>,
    /// The time of the replaced algorithm.
    pub replaced_milliseconds: Option<f32>,
    /// Where a norm is folded into the convolution, what adds the bias and applies `ReLU`: the algorithm
    /// that computes the product for it, or `separate pass`.
    pub folded_norm: Option<String>,
}
