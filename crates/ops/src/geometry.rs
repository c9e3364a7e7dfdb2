//! The sizes of a convolution.

use crate::error::{self, dims4};
use candle_core::{Result, Shape, Tensor};

/// Stride, zero padding and dilation of a convolution, the same in both directions.
///
/// ```
/// let same = robustseg_ops::Conv2dConfig { stride: 1, padding: 4, dilation: 4 };
/// assert_eq!(same.output_size(59, 3), Some(59));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Pixels from one output to the next, at least 1.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Pixels from one tap to the next, at least 1.
    pub dilation: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1 }
    }
}

impl Conv2dConfig {
    /// Output pixels of `input` pixels under a kernel of `kernel` taps. `None` if the kernel does
    /// not fit.
    pub fn output_size(&self, input: usize, kernel: usize) -> Option<usize> {
        let reach = self.dilation * kernel.checked_sub(1)? + 1;
        Some((input + 2 * self.padding).checked_sub(reach)? / self.stride.max(1) + 1)
    }
}

/// All sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    /// Input height, width and channels.
    pub(crate) input: [usize; 3],
    /// Output height, width and channels.
    pub(crate) output: [usize; 3],
    /// Kernel height and width.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
}

impl Geometry {
    /// The convolution of `x` (N, H, W, I) with `weight` (O, KH, KW, I), for `operation`.
    pub(crate) fn new(
        operation: &'static str,
        x: &Tensor,
        weight: &Tensor,
        config: Conv2dConfig,
    ) -> Result<Self> {
        error::activation(operation, x)?;
        error::weight(operation, x, weight)?;
        Self::of(operation, x, weight, config)
    }

    /// The same without a look at the types of the elements.
    pub(crate) fn of(
        operation: &'static str,
        x: &Tensor,
        weight: &Tensor,
        config: Conv2dConfig,
    ) -> Result<Self> {
        let (batch, height, width, inputs) = dims4(operation, "input (N, H, W, I)", x)?;
        let (outputs, kh, kw, weight_inputs) = dims4(operation, "weight (O, KH, KW, I)", weight)?;
        if weight_inputs != inputs {
            let expected = format!("weight with {inputs} input channels");
            return Err(error::shape(operation, expected, weight));
        }
        if config.stride == 0 || config.dilation == 0 {
            candle_core::bail!("{operation}: stride and dilation must be at least 1, found {config:?}");
        }
        let sizes = (config.output_size(height, kh), config.output_size(width, kw));
        let (Some(out_height), Some(out_width)) = sizes else {
            let expected = format!("input no smaller than the kernel {kh}x{kw} under {config:?}");
            return Err(error::shape(operation, expected, x));
        };
        Ok(Self {
            batch,
            input: [height, width, inputs],
            output: [out_height, out_width, outputs],
            kernel: [kh, kw],
            stride: config.stride,
            padding: config.padding,
            dilation: config.dilation,
        })
    }

    /// (N, H, W, I).
    pub(crate) fn input_shape(&self) -> Shape {
        Shape::from((self.batch, self.input[0], self.input[1], self.input[2]))
    }

    /// (N, OH, OW, O).
    pub(crate) fn output_shape(&self) -> Shape {
        Shape::from((self.batch, self.output[0], self.output[1], self.output[2]))
    }

    /// (O, KH, KW, I).
    pub(crate) fn weight_shape(&self) -> Shape {
        Shape::from((self.output[2], self.kernel[0], self.kernel[1], self.input[2]))
    }

    /// Whether each output pixel reads the input pixel in the same place, and no other.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == 0
    }
}
