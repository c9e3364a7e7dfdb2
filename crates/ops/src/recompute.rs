//! Layers whose maps a backward pass computes again instead of keeping them.

use crate::gradients::Gradients;
use crate::tape::{self, Recorded, Tape};
use candle_core::{Result, Tensor, Var};

/// `layers(x)`. On a [`Tape`], the maps inside are released at once, and the backward pass computes them
/// again by `again` (Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*).
///
/// `again` has to compute what `layers` does, without its side effects, from `x` and from variables that
/// do not change before the backward pass. The gradients are then the same, bit for bit. Cost: the
/// layers' forward computation once more.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor, Var};
/// use robustseg_ops::{Arithmetic, Conv2dConfig, Tape, conv2d, recompute};
/// # fn main() -> Result<()> {
/// let image = Tensor::ones((1, 4, 4, 1), DType::F32, &Device::Cpu)?;
/// let weight = Var::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// let variable = weight.as_tensor().clone();
/// let twice = move |x: &Tensor| {
///     let inside = conv2d(x, &variable, Conv2dConfig::default(), Arithmetic::default())?;
///     conv2d(&inside, &variable, Conv2dConfig::default(), Arithmetic::default())
/// };
///
/// let tape = Tape::start();
/// let scores = recompute(&image, &twice, twice.clone())?;
/// let gradients = tape.backward(&scores)?;
/// assert_eq!(gradients.get(&weight).unwrap().flatten_all()?.to_vec1::<f32>()?, [32.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Those of `layers`. The backward pass fails with those of `again`.
pub fn recompute(
    x: &Tensor,
    layers: impl FnOnce(&Tensor) -> Result<Tensor>,
    again: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    if !tape::is_running() {
        return layers(x);
    }
    let inner = Tape::start();
    let output = layers(x)?;
    let (mut inputs, hides_variables) = inner.forget();
    if !output.track_op() {
        return Ok(output);
    }
    // A result of candle's has its graph, which holds the maps.
    let output = if output.is_variable() { output } else { Var::from_tensor(&output.detach())?.into_inner() };
    if x.track_op() && !x.is_variable() {
        inputs.push(x.clone());
    }
    let x = x.clone();
    tape::record(Box::new(Recomputed { x, inputs, output: output.clone(), again, hides_variables }));
    Ok(output)
}

/// Layers with what they read.
struct Recomputed<F> {
    x: Tensor,
    /// The variables, and the tensor that layers before have computed.
    inputs: Vec<Tensor>,
    output: Tensor,
    again: F,
    hides_variables: bool,
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Recorded for Recomputed<F> {
    fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    fn output(&self) -> &Tensor {
        &self.output
    }

    fn backward(&self, gradient: Tensor, _: bool, gradients: &mut Gradients) -> Result<()> {
        let tape = Tape::start();
        let output = (self.again)(&self.x)?;
        gradients.insert(&output, gradient);
        // With the gradients of the outer tape, so that sums keep their order.
        tape.read(&output, gradients, |_, _| Ok(()))
    }

    fn hides_variables(&self) -> bool {
        self.hides_variables
    }
}

#[cfg(test)]
mod tests;
