//! The residual of a Newton step: how far the gain at the example is from the prediction of a line.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::objective::Fixed;
use super::scalar;
use crate::Result;

/// The gain that is added to every gain before a residual is divided by it, in units of logits, so
/// that residuals near the decision boundary stay finite.
const TAU: f64 = 0.1;

/// The weight of new residuals in their running mean.
const RATE: f64 = 0.05;

/// Deviations above the mean from which a residual counts.
const DEVIATIONS: f64 = 2.0;

/// A line's prediction of the gain at examples, image by image.
pub(super) struct Prediction {
    /// G as a function of the logits at the examples.
    pub(super) fixed: Fixed,
    /// G at the start of the step (M).
    pub(super) before: Tensor,
    /// G at the example, if it fell along a line (M).
    pub(super) expected: Tensor,
}

impl Prediction {
    /// `((after - expected) / (before + tau))^2` for the gains `after` (M) at the examples. Images
    /// without a step, whose gain was not above 0, have 0. A gradient flows to `after` alone.
    pub(super) fn residuals(&self, after: &Tensor) -> Result<Tensor> {
        residuals(after, &self.before, &self.expected)
    }
}

fn residuals(after: &Tensor, before: &Tensor, expected: &Tensor) -> Result<Tensor> {
    let stepped = before.gt(0_f32)?;
    let residuals = ((after - expected)? / (before.relu()? + TAU)?)?.sqr()?;
    Ok(stepped.where_cond(&residuals, &residuals.zeros_like()?)?)
}

/// Running mean of residuals and of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Residuals(Option<[f32; 2]>);

/// The names in a saved state.
const MEAN: &str = "residual_mean";
const SQUARE: &str = "residual_square";

impl Residuals {
    /// The mean over all images of those `residuals` (M) that exceed the running mean by two
    /// deviations, or `None` if none does.
    pub(super) fn outlying(self, residuals: &Tensor) -> Result<Option<Tensor>> {
        let Some([mean, square]) = self.0 else { return Ok(None) };
        let (mean, square) = (f64::from(mean), f64::from(square));
        let threshold = mean + DEVIATIONS * (square - mean * mean).max(0.0).sqrt();
        let outlying = residuals.gt(threshold as f32)?;
        if outlying.to_vec1::<u8>()?.iter().all(|&outlying| outlying == 0) {
            return Ok(None);
        }
        Ok(Some(outlying.where_cond(residuals, &residuals.zeros_like()?)?.mean_all()?))
    }

    /// Takes in the residuals of an update. Those that are not finite do not count.
    pub(super) fn learn(&mut self, residuals: &[f32]) {
        let residuals: Vec<f64> =
            residuals.iter().copied().filter(|r| r.is_finite()).map(f64::from).collect();
        if residuals.is_empty() {
            return;
        }
        let mean = |power: i32| residuals.iter().map(|r| r.powi(power)).sum::<f64>() / residuals.len() as f64;
        let new = [mean(1), mean(2)];
        self.0 = Some(match self.0 {
            None => new.map(|new| new as f32),
            Some(old) => [0, 1].map(|k| (f64::from(old[k]) + RATE * (new[k] - f64::from(old[k]))) as f32),
        });
    }

    pub(super) fn state(self) -> impl Iterator<Item = (String, Tensor)> {
        self.0
            .into_iter()
            .flat_map(|[mean, square]| [(MEAN.to_owned(), scalar(mean)), (SQUARE.to_owned(), scalar(square))])
    }

    /// Takes its tensors out of a saved state.
    pub(super) fn take(state: &mut BTreeMap<String, Tensor>) -> Result<Self> {
        let (Some(mean), Some(square)) = (state.remove(MEAN), state.remove(SQUARE)) else {
            return Ok(Self(None));
        };
        let number = |tensor: Tensor| -> Result<f32> { Ok(tensor.flatten_all()?.get(0)?.to_scalar()?) };
        Ok(Self(Some([number(mean)?, number(square)?])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::tests::values;
    use candle_core::{Device, Var};

    #[test]
    fn residuals_are_those_of_the_formula_and_so_is_their_gradient() -> Result<()> {
        let new = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let (before, expected) = (new(&[0.9, 0.4, -0.5])?, new(&[0.2, 0.0, -0.5])?);
        let after = Var::new(&[0.7_f32, -0.1, 3.0], &Device::Cpu)?;
        let residuals = residuals(after.as_tensor(), &before, &expected)?;
        for (found, expected) in values(&residuals).into_iter().zip([0.25, 0.04, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        let gradient = residuals.sum_all()?.backward()?;
        let gradient = values(gradient.get(after.as_tensor()).expect("a gradient"));
        // 2 (after - expected) / (before + tau)^2.
        for (found, expected) in gradient.into_iter().zip([1.0, -0.8, 0.0]) {
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
        Ok(())
    }

    #[test]
    fn only_residuals_two_deviations_above_the_mean_count() -> Result<()> {
        let new = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let mut running = Residuals::default();
        assert!(running.outlying(&new(&[1e6])?)?.is_none(), "nothing is known yet");
        // A mean of 0.2 and a deviation of 0.1.
        running.learn(&[0.1, 0.3, f32::NAN]);
        assert!(running.outlying(&new(&[0.39, 0.0])?)?.is_none());
        let outlying = running.outlying(&new(&[0.39, 0.41, 0.0, 0.79])?)?.expect("two outliers");
        assert!((outlying.to_scalar::<f32>()? - 0.3).abs() < 1e-6);
        running.learn(&[1.2]);
        let Some([mean, square]) = running.0 else { panic!("a mean") };
        assert!((mean - 0.25).abs() < 1e-6 && (square - (0.05 + 0.05 * 1.39)).abs() < 1e-6);
        let mut state: BTreeMap<_, _> = running.state().collect();
        assert_eq!(Residuals::take(&mut state)?, running);
        assert!(state.is_empty());
        Ok(())
    }
}
