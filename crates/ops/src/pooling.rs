//! Maximum pooling and adaptive average pooling, channels last.

use crate::adapter::{apply, run};
use crate::error::{self, dims4};
use crate::operation::{Backward, Operation};
use crate::regions::Regions;
use candle_core::{Result, Shape, Tensor};

/// Largest value under a square window of `kernel` pixels, every `stride` pixels, with `padding`
/// pixels of minus infinity around; `x` (N, H, W, C) to (N, OH, OW, C) with
/// `OH = (H + 2 padding - kernel) / stride + 1`.
///
/// The gradient goes to the first largest value of a window, as in PyTorch.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[[[1_f32], [2.0], [0.0]], [[5.0], [4.0], [3.0]]]], &Device::Cpu)?;
/// let y = robustseg_ops::max_pool2d(&x, 3, 2, 1)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5.0, 4.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the window does not fit into the padded input or is larger than 15, or `padding` exceeds half
/// the kernel.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (_, height, width, channels) = dims4("max_pool2d", "input (N, H, W, C)", x)?;
    error::activation("max_pool2d", x)?;
    // A byte holds the place in a window, and 255 stands for no place.
    if !(1..16).contains(&kernel) || stride == 0 || padding * 2 > kernel {
        candle_core::bail!(
            "max_pool2d: expected a kernel of 1 to 15, a stride of at least 1 and padding of at most half the kernel, \
             found kernel {kernel}, stride {stride}, padding {padding}"
        );
    }
    let size = |input: usize| {
        (input + 2 * padding).checked_sub(kernel).map(|rest| rest / stride + 1).ok_or_else(|| {
            error::shape("max_pool2d", format!("input no smaller than the window {kernel}"), x)
        })
    };
    let output = [size(height)?, size(width)?];
    apply(MaxPool { input: [height, width, channels], output, kernel, stride, padding }, [x])
}

/// A maximum pooling with a square kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPool {
    /// Height, width and channels.
    pub(crate) input: [usize; 3],
    /// Height and width.
    pub(crate) output: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Operation<1> for MaxPool {
    const NAME: &'static str = "max_pool2d";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        Shape::from((x.dims()[0], self.output[0], self.output[1], self.input[2]))
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        let ([x], output) = (backward.inputs, backward.output);
        Ok([Some(run(MaxPoolGradient(*self), [x, output, backward.gradient])?)])
    }
}

/// The gradient of the input, from (input, output, gradient).
pub(crate) struct MaxPoolGradient(pub(crate) MaxPool);

impl Operation<3> for MaxPoolGradient {
    const NAME: &'static str = "max_pool2d_gradient";

    fn shape(&self, [x, ..]: [&Shape; 3]) -> Shape {
        x.clone()
    }
}

/// The levels of a pyramid, each of `bins` x `bins` means over regions of `x` (N, H, W, C), level
/// by level and row by row: (N, sum of `bins` squared, C), which
/// [`conv2d_pyramid`](crate::conv2d_pyramid) takes.
///
/// Region i of a size that `bins` does not divide reaches from `floor(i * size / bins)` to
/// `ceil((i + 1) * size / bins)`, as in PyTorch. Regions may therefore overlap, and a map smaller
/// than `bins` repeats its pixels. Cost: one reading of `x` and one writing of its gradient, for
/// any number of levels.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[[[1_f32], [2.0], [6.0]]]], &Device::Cpu)?; // one row of three pixels
/// let y = robustseg_ops::adaptive_avg_pool2d(&x, &[2, 1])?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 4.0, 1.5, 4.0, 3.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `bins` is empty or contains 0, or `x` does not have four axes.
pub fn adaptive_avg_pool2d(x: &Tensor, bins: &[usize]) -> Result<Tensor> {
    let (_, height, width, channels) = dims4("adaptive_avg_pool2d", "input (N, H, W, C)", x)?;
    error::activation("adaptive_avg_pool2d", x)?;
    if bins.is_empty() || bins.contains(&0) {
        candle_core::bail!("adaptive_avg_pool2d: expected levels of at least 1 bin, found {bins:?}");
    }
    apply(AdaptiveAverage(Regions::new([height, width, channels], bins)), [x])
}

/// (N, H, W, C) to (N, regions, C).
pub(crate) struct AdaptiveAverage(pub(crate) Regions);

impl Operation<1> for AdaptiveAverage {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        Shape::from((x.dims()[0], self.0.count(), self.0.input[2]))
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        Ok([Some(run(AdaptiveAverageGradient(&self.0), [backward.gradient])?)])
    }
}

/// (N, regions, C) to (N, H, W, C).
pub(crate) struct AdaptiveAverageGradient<'a>(pub(crate) &'a Regions);

impl Operation<1> for AdaptiveAverageGradient<'_> {
    const NAME: &'static str = "adaptive_avg_pool2d_gradient";

    fn shape(&self, [gradient]: [&Shape; 1]) -> Shape {
        let [height, width, channels] = self.0.input;
        Shape::from((gradient.dims()[0], height, width, channels))
    }
}
