//! Clipping of gradients by their norm.

use candle_core::{DType, Result, Tensor};

use crate::Gradients;

/// Added to the norm, as in PyTorch.
const EPSILON: f64 = 1e-6;

/// Scales the gradients of `variables` so that the l2 norm of all of them together is at most
/// `limit`, as PyTorch's `clip_grad_norm_`. Gradients whose norm is not finite are not changed.
///
/// ```
/// use candle_core::{Device, Var};
/// use robustseg_ops::{Tape, clip_gradients};
///
/// let weight = Var::new(&[3.0_f32, 4.0], &Device::Cpu)?;
/// let tape = Tape::start();
/// let mut gradients = tape.backward(&(weight.sqr()?.sum_all()? * 0.5)?)?;
/// clip_gradients(&[weight.as_tensor()], &mut gradients, 1.0)?;
/// let clipped: Vec<f32> = gradients.get(&weight).expect("a gradient").to_vec1()?;
/// assert!((clipped[0] - 0.6).abs() < 1e-6 && (clipped[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If the device runs out of memory.
pub fn clip_gradients(variables: &[&Tensor], gradients: &mut Gradients, limit: f64) -> Result<()> {
    let mut squares = 0.0;
    for gradient in variables.iter().filter_map(|variable| gradients.get(variable)) {
        squares += gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let factor = limit / (squares.sqrt() + EPSILON);
    if factor < 1.0 && squares.is_finite() {
        for variable in variables {
            if let Some(gradient) = gradients.remove(variable) {
                gradients.insert(variable, (gradient * factor)?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tape;
    use candle_core::{Device, Var};

    #[test]
    fn the_norm_of_all_gradients_is_at_most_the_limit_and_their_direction_stays() -> Result<()> {
        let first = Var::randn(0.0_f32, 1.0, (3, 5, 7), &Device::Cpu)?;
        let second = Var::randn(0.0_f32, 2.0, 11, &Device::Cpu)?;
        let variables = [first.as_tensor(), second.as_tensor()];
        let gradients = || -> Result<Gradients> {
            let tape = Tape::start();
            tape.backward(&(first.sqr()?.sum_all()? + second.sqr()?.sum_all()?)?)
        };
        let all = |gradients: &Gradients| -> Result<Vec<f32>> {
            let flat = variables
                .iter()
                .map(|variable| gradients.get(variable).expect("a gradient").flatten_all()?.to_vec1());
            Ok(flat.collect::<Result<Vec<Vec<f32>>>>()?.concat())
        };
        let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let before = all(&gradients()?)?;
        for (limit, expected) in
            [(norm(&before) * 2.0, norm(&before)), (norm(&before) / 4.0, norm(&before) / 4.0)]
        {
            let mut clipped = gradients()?;
            clip_gradients(&variables, &mut clipped, limit)?;
            let after = all(&clipped)?;
            assert!((norm(&after) / expected - 1.0).abs() < 1e-5, "{} {expected}", norm(&after));
            let along: f64 = before.iter().zip(&after).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((along / (norm(&before) * norm(&after)) - 1.0).abs() < 1e-6);
        }
        let mut infinite = gradients()?;
        infinite.insert(variables[0], (variables[0].ones_like()? * f64::INFINITY)?);
        clip_gradients(&variables, &mut infinite, 1.0)?;
        assert_eq!(all(&infinite)?[variables[0].elem_count()..], before[variables[0].elem_count()..]);
        Ok(())
    }
}
