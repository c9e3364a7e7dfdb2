//! Adam: Kingma, Ba, ICLR 2015, with the maximum of Reddi, Kale, Kumar, *On the Convergence of Adam
//! and Beyond*, ICLR 2018 (AMSGrad).

use candle_core::Tensor;

use crate::Result;

/// Decay of the mean of the gradients.
const FIRST: f64 = 0.9;
/// Decay of the mean of their squares.
const SECOND: f64 = 0.999;
/// Added to the denominator. It is far below the gradient of any pixel that matters: the mean over
/// a million pixels has gradients around 1e-6.
const SMALL: f64 = 1e-12;

/// The moments of the gradients so far, element by element.
pub(crate) struct Adam {
    mean: Tensor,
    square: Tensor,
    largest: Tensor,
    steps: i32,
}

impl Adam {
    /// For gradients of the shape and type of `like`.
    pub(crate) fn new(like: &Tensor) -> Result<Self> {
        let zero = like.zeros_like()?;
        Ok(Self { mean: zero.clone(), square: zero.clone(), largest: zero, steps: 0 })
    }

    /// The step for a learning rate of 1, after one more `gradient`.
    pub(crate) fn direction(&mut self, gradient: &Tensor) -> Result<Tensor> {
        self.steps += 1;
        self.mean = ((&self.mean * FIRST)? + (gradient * (1.0 - FIRST))?)?;
        self.square = ((&self.square * SECOND)? + (gradient.sqr()? * (1.0 - SECOND))?)?;
        self.largest = self.largest.maximum(&self.square)?;
        let mean = (&self.mean / (1.0 - FIRST.powi(self.steps)))?;
        let root = (self.largest.sqrt()? / (1.0 - SECOND.powi(self.steps)).sqrt())?;
        Ok((mean / (root + SMALL)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn directions_by_hand() -> Result<()> {
        let at = |value: f64| Tensor::new(&[value, -value, 0.0], &Device::Cpu);
        let mut adam = Adam::new(&at(0.0)?)?;
        // The first step has the gradient's sign, whatever its size. No gradient, no step.
        let first = adam.direction(&at(4e-6)?)?.to_vec1::<f64>()?;
        assert!((first[0] - 1.0).abs() < 1e-5 && (first[1] + 1.0).abs() < 1e-5 && first[2] == 0.0);
        // The moments are now 0.09 and 0.001 times those of the first gradient and their decayed
        // form; the second moment is less than its former maximum.
        let second = adam.direction(&at(0.0)?)?.to_vec1::<f64>()?;
        let expected = (0.09 / 0.19) / (0.001_f64 / (1.0 - 0.999 * 0.999)).sqrt();
        assert!((second[0] - expected).abs() < 1e-5, "{second:?} {expected}");
        Ok(())
    }
}
