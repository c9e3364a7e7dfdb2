//! Parts of tensors along an axis, and their concatenation. A GPU copies them by one kernel each, where
//! candle first uploads their sizes.

use crate::adapter::{apply, run};
use crate::error;
use crate::operation::{Backward, OnCpu, Operation};
use candle_core::{Result, Shape, Tensor, bail};

/// The elements from `start` to `start + count` of `axis`, as candle's `narrow` gives them. Contiguous on
/// a GPU.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
/// assert_eq!(robustseg_ops::part(&x, 1, 1, 2)?.to_vec2::<f32>()?, [[2.0, 3.0], [5.0, 6.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `x` has no such elements.
pub fn part(x: &Tensor, axis: usize, start: usize, count: usize) -> Result<Tensor> {
    let narrowed = x.narrow(axis, start, count)?;
    if !x.device().is_cuda() {
        return Ok(narrowed);
    }
    error::activation("part", x)?;
    apply(Part { axis, start, count }, [x])
}

/// `tensors`, one after the other along `axis`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// # fn main() -> candle_core::Result<()> {
/// let (x, y) = (Tensor::new(&[[1_f32], [2.0]], &Device::Cpu)?, Tensor::new(&[[3_f32, 4.0], [5.0, 6.0]], &Device::Cpu)?);
/// assert_eq!(robustseg_ops::concatenate(&[x, y], 1)?.to_vec2::<f32>()?, [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If `tensors` is empty, or the shapes differ in another axis.
pub fn concatenate(tensors: &[Tensor], axis: usize) -> Result<Tensor> {
    match tensors {
        [] => bail!("concatenate: expected tensors, found none"),
        [first, ..] if !first.device().is_cuda() => Tensor::cat(tensors, axis),
        [single] => Ok(single.clone()),
        [first, second] => apply(joined([first, second], axis)?, [first, second]),
        [first, second, third, rest @ ..] => {
            let three = apply(joined([first, second, third], axis)?, [first, second, third])?;
            concatenate(&[&[three], rest].concat(), axis)
        }
    }
}

fn joined<const N: usize>(tensors: [&Tensor; N], axis: usize) -> Result<Concatenation<N>> {
    let others = |tensor: &Tensor| {
        let mut dims = tensor.dims().to_vec();
        (axis < dims.len()).then(|| dims.remove(axis))?;
        Some(dims)
    };
    error::activation("concatenate", tensors[0])?;
    for tensor in tensors {
        error::dtype("concatenate", tensors[0].dtype(), tensor)?;
        if others(tensor).is_none() || others(tensor) != others(tensors[0]) {
            let expected = format!("tensors that fit {:?} but for axis {axis}", tensors[0].dims());
            return Err(error::shape("concatenate", expected, tensor));
        }
    }
    Ok(Concatenation { axis, counts: tensors.map(|tensor| tensor.dims()[axis]) })
}

/// `shape` with another number of elements along `axis`.
fn with_count(shape: &Shape, axis: usize, count: usize) -> Shape {
    let mut dims = shape.dims().to_vec();
    dims[axis] = count;
    Shape::from(dims)
}

/// Of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) axis: usize,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "GPUs alone compute parts"))]
    pub(crate) start: usize,
    pub(crate) count: usize,
}

impl Operation<1> for Part {
    const NAME: &'static str = "part";

    fn shape(&self, [x]: [&Shape; 1]) -> Shape {
        with_count(x, self.axis, self.count)
    }

    fn gradients(&self, backward: &Backward<'_, 1>) -> Result<[Option<Tensor>; 1]> {
        let whole = backward.inputs[0].dims()[self.axis];
        Ok([Some(run(Placed { part: *self, whole }, [backward.gradient])?)])
    }
}

// See `part`.
impl OnCpu<1> for Part {}

/// A part in its place among `whole` elements of the axis, and zeros.
pub(crate) struct Placed {
    pub(crate) part: Part,
    pub(crate) whole: usize,
}

impl Operation<1> for Placed {
    const NAME: &'static str = "placed_part";

    fn shape(&self, [part]: [&Shape; 1]) -> Shape {
        with_count(part, self.part.axis, self.whole)
    }
}

impl OnCpu<1> for Placed {}

/// Of `N` tensors with these numbers of elements along the axis.
pub(crate) struct Concatenation<const N: usize> {
    pub(crate) axis: usize,
    pub(crate) counts: [usize; N],
}

impl<const N: usize> Operation<N> for Concatenation<N> {
    const NAME: &'static str = "concatenate";

    fn shape(&self, tensors: [&Shape; N]) -> Shape {
        with_count(tensors[0], self.axis, self.counts.iter().sum())
    }

    fn gradients(&self, backward: &Backward<'_, N>) -> Result<[Option<Tensor>; N]> {
        let (mut start, mut gradients) = (0, [const { None }; N]);
        for (index, count) in self.counts.into_iter().enumerate() {
            if backward.needs[index] {
                let own = Part { axis: self.axis, start, count };
                gradients[index] = Some(run(own, [backward.gradient])?);
            }
            start += count;
        }
        Ok(gradients)
    }
}

// See `concatenate`.
impl<const N: usize> OnCpu<N> for Concatenation<N> {}
