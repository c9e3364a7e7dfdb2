//! Clipping of gradients by their norm.

use candle_core::DType;
use robustseg_models::Network;
use robustseg_ops::Gradients;

use crate::Result;

/// Added to the norm, as in PyTorch.
const EPSILON: f64 = 1e-6;

/// Scales the gradients of the parameters of `network` so that the l2 norm of all of them together is
/// at most `limit`, as PyTorch's `clip_grad_norm_`. Gradients that are not finite stay, for the
/// optimiser to name.
pub(crate) fn clip(network: &Network, gradients: &mut Gradients, limit: f64) -> Result<()> {
    let parameters = || network.parameters().values().map(|parameter| parameter.var.as_tensor());
    let mut squares = 0.0;
    for gradient in parameters().filter_map(|parameter| gradients.get(parameter)) {
        squares += gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let factor = limit / (squares.sqrt() + EPSILON);
    if factor < 1.0 && squares.is_finite() {
        for parameter in parameters() {
            if let Some(gradient) = gradients.remove(parameter) {
                gradients.insert(parameter, (gradient * factor)?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use candle_core::Tensor;
    use robustseg_ops::Tape;

    #[test]
    fn the_norm_of_all_gradients_is_at_most_the_limit_and_their_direction_stays() -> Result<()> {
        let network = fixture::network(3)?;
        let parameters: Vec<_> =
            network.parameters().values().filter(|parameter| parameter.is_trainable()).collect();
        let gradients = || -> Result<Gradients> {
            let tape = Tape::start();
            let squares = parameters.iter().map(|parameter| parameter.var.sqr()?.sum_all());
            let squares = squares.collect::<candle_core::Result<Vec<_>>>()?;
            Ok(tape.backward(&Tensor::stack(&squares, 0)?)?)
        };
        let all = |gradients: &Gradients| -> Result<Vec<f32>> {
            let flat = parameters.iter().map(|parameter| {
                gradients.get(parameter.var.as_tensor()).expect("a gradient").flatten_all()?.to_vec1()
            });
            Ok(flat.collect::<candle_core::Result<Vec<Vec<f32>>>>()?.concat())
        };
        let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let before = all(&gradients()?)?;
        for (limit, expected) in
            [(norm(&before) * 2.0, norm(&before)), (norm(&before) / 4.0, norm(&before) / 4.0)]
        {
            let mut clipped = gradients()?;
            clip(&network, &mut clipped, limit)?;
            let after = all(&clipped)?;
            assert!((norm(&after) / expected - 1.0).abs() < 1e-5, "{} {expected}", norm(&after));
            let along: f64 = before.iter().zip(&after).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((along / (norm(&before) * norm(&after)) - 1.0).abs() < 1e-6);
        }
        let mut infinite = gradients()?;
        let first = parameters[0].var.as_tensor();
        infinite.insert(first, (first.ones_like()? * f64::INFINITY)?);
        clip(&network, &mut infinite, 1.0)?;
        assert_eq!(all(&infinite)?[first.elem_count()..], before[first.elem_count()..]);
        Ok(())
    }
}
