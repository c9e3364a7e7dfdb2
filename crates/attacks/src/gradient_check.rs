//! Checks whether a model's gradient is the slope of its loss.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, pixel_objective_per_image};
use robustseg_random::stream;

use crate::gradient::{InputGradient, finite, unchecked};
use crate::{Error, Model, Norm, Result, case, selection};

/// The number of step lengths to try, each four times the previous one, and the index of the first
/// to try.
const STEPS: usize = 5;
const FIRST: usize = 1;
/// Pixels keep this distance from 0 and 1, so that no step leaves `[0, 1]`. Noise within it makes
/// equal pixels differ, since a max pool has no slope where its largest values are equal.
const MARGIN: f64 = 0.02;
const DITHER: f64 = 0.01;
/// The number of random directions, if the first one gives reason to try more.
const DIRECTIONS: u64 = 4;
/// A difference counts only if it is this many times what f32 can resolve of the loss.
const RESOLVED: f64 = 10.0;
/// Up to this disagreement gradient and slope count as the same. The second limit is the one from
/// which an attack is refused.
const SAME: f64 = 0.05;
const GROSS: f64 = 0.15;

/// How well a model's gradient agrees with central differences of its loss; see [`check_gradient`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientCheck {
    /// The difference between the slope of the loss along the gradient's sign and the slope that
    /// the gradient predicts, relative to the prediction.
    pub along: f64,
    /// The same in random directions, relative to the expected slope for a gradient of that length.
    /// It is about the length of the missing part over that of the gradient.
    pub across: f64,
    /// Forward passes of the image for the check, in addition to those of the gradient.
    pub forward: usize,
}

impl GradientCheck {
    /// The larger of the two differences.
    pub fn disagreement(&self) -> f64 {
        self.along.max(self.across)
    }

    /// Whether gradient and slope are the same, as far as differences can tell.
    pub fn agrees(&self) -> bool {
        self.disagreement() <= SAME
    }

    /// The message for the user if they are not the same.
    pub fn complaint(&self) -> Option<String> {
        let [along, across] = [self.along, self.across].map(|share| 100.0 * share);
        (!self.agrees()).then(|| {
            format!(
                "the gradient differs from the slope of the loss by {along:.0} % along itself and by {across:.0} % in random \
                 directions: an operation may lack its backward pass, and attacks be weaker than they could be"
            )
        })
    }
}

/// Compares the gradient of the mean cross-entropy with central differences, along the gradient's
/// sign and in a random direction. It uses the first of the images (N, 3, H, W), f32 in `[0, 1]`,
/// that has a labelled pixel in `label` (N, H, W), u8. This costs four forward passes of one image.
/// If gradient and differences disagree, the check tries further steps and directions, at most
/// fifty passes in all. A disagreement counts if several steps agree on it. Rounding, kinks and
/// saturation therefore do not count, and the check does not find a fault that they hide.
///
/// A gradient lacks a part where the model uses operations that candle cannot differentiate but
/// does not refuse; see [`Model`]. The draws are always the same. Returns `None` if no image has a
/// label or the gradient [is a surrogate](Model::has_surrogate_gradient).
///
/// # Errors
/// [`Error::WrongGradient`] if gradient and slope differ by more than 15 %.
pub fn check_gradient(model: &dyn Model, image: &Tensor, label: &Tensor) -> Result<Option<GradientCheck>> {
    case::check(image, label)?;
    let labelled = selection::without_labels(label)?.into_iter().position(|blank| !blank);
    let Some(row) = labelled.filter(|_| !model.has_surrogate_gradient()) else { return Ok(None) };
    let (image, label) = (&image.narrow(0, row, 1)?, &label.narrow(0, row, 1)?);
    let mut probe = Probe::new(model, image, label)?;
    let sign = probe.sign()?;
    let along = probe.disagreement(&sign, Direction::Along)?;
    let first = probe.random(0)?;
    let mut across = vec![probe.disagreement(&first, Direction::Across)?];
    if along > SAME || across[0] > SAME {
        for number in 1..DIRECTIONS {
            let direction = probe.random(number)?;
            across.push(probe.disagreement(&direction, Direction::Across)?);
        }
    }
    let squares: f64 = across.iter().map(|value| value * value).sum();
    let across = (squares / across.len() as f64).sqrt();
    let check = GradientCheck { along, across, forward: probe.forward };
    if check.disagreement() > GROSS {
        return Err(Error::WrongGradient { along, across });
    }
    Ok(Some(check))
}

/// The direction of a difference.
#[derive(Clone, Copy)]
enum Direction {
    Along,
    Across,
}

impl Direction {
    /// The steps in the unit of the image. Below them rounding dominates, above them the curvature
    /// of the loss. Along the gradient the loss changes more and bends earlier.
    fn steps(self) -> [f64; STEPS] {
        let smallest = match self {
            Self::Along => 1.0 / 262_144.0,
            Self::Across => 1.0 / 65_536.0,
        };
        [1.0, 4.0, 16.0, 64.0, 256.0].map(|times| times * smallest)
    }
}

/// A model's loss and its gradient at one point.
struct Probe<'a> {
    model: &'a dyn Model,
    label: &'a Tensor,
    point: Tensor,
    value: f64,
    gradient: Tensor,
    norm: f64,
    /// A difference of the loss up to this size may be rounding.
    smallest: f64,
    forward: usize,
}

impl<'a> Probe<'a> {
    fn new(model: &'a dyn Model, image: &Tensor, label: &'a Tensor) -> Result<Self> {
        let random = &mut stream(0, "gradient check", [0; 3]);
        let dither = (Norm::Linf.noise(image.shape(), image.device(), random)? * DITHER)?;
        let inside = image.detach().to_dtype(DType::F64)?.affine(1.0 - 2.0 * MARGIN, MARGIN)?;
        let point = (inside + dither)?;
        let (InputGradient { value, gradient }, _) =
            unchecked(model, &point, label, PixelObjective::CrossEntropy)?;
        let value: Vec<f32> = value.to_vec1()?;
        finite("objective", &value)?;
        let smallest = RESOLVED * f64::from(f32::EPSILON * value[0].max(1.0));
        let gradient = gradient.to_dtype(DType::F64)?;
        let norm = gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
        let value = f64::from(value[0]);
        Ok(Self { model, label, point, value, gradient, norm, smallest, forward: 0 })
    }

    /// The gradient's sign: the direction of attacks.
    fn sign(&self) -> Result<Tensor> {
        let [up, down] = [self.gradient.gt(0.0)?, self.gradient.lt(0.0)?];
        Ok((up.to_dtype(DType::F64)? - down.to_dtype(DType::F64)?)?)
    }

    /// Random values in `[-1, 1]`.
    fn random(&self, number: u64) -> Result<Tensor> {
        Norm::Linf.noise(
            self.point.shape(),
            self.point.device(),
            &mut stream(0, "gradient check", [1, number, 0]),
        )
    }

    fn loss(&mut self, image: &Tensor) -> Result<f64> {
        self.forward += 1;
        let logits = self.model.logits(image)?;
        let (objective, alignment) = (PixelObjective::CrossEntropy, self.model.alignment());
        let values =
            pixel_objective_per_image(&logits, self.label, objective, alignment)?.to_vec1::<f32>()?;
        finite("objective", &values)?;
        Ok(f64::from(values[0]))
    }

    /// The excess of the loss's rise, from `step` before the point to `step` after it, over the
    /// rise that the gradient predicts, as a relative deviation. `None` if neither exceeds
    /// rounding, or if the two sides rise differently.
    fn deviation(&mut self, direction: &Tensor, kind: Direction, step: f64) -> Result<Option<f64>> {
        let dtype = self.model.image_dtype();
        let step_there = (direction * step)?;
        let ahead = (&self.point + &step_there)?.to_dtype(dtype)?;
        let behind = (&self.point - &step_there)?.to_dtype(dtype)?;
        // The images that the model receives, rounded.
        let moved = (ahead.to_dtype(DType::F64)? - behind.to_dtype(DType::F64)?)?;
        let expected = (&moved * &self.gradient)?.sum_all()?.to_scalar::<f64>()?;
        let rises = [self.loss(&ahead)? - self.value, self.value - self.loss(&behind)?];
        let found = rises[0] + rises[1];
        let scale = match kind {
            Direction::Along => expected.abs(),
            Direction::Across => {
                let squares = moved.sqr()?.mean_all()?.to_scalar::<f64>()?;
                self.norm * squares.sqrt()
            }
        };
        if scale.max(found.abs()) <= self.smallest {
            return Ok(None);
        }
        // If the gradient is zero, only the slope of the loss is left to divide by.
        let scale = if scale > 0.0 { scale } else { found.abs() };
        let deviation = (found - expected) / scale;
        if deviation.abs() <= SAME {
            return Ok(Some(deviation));
        }
        // Both sides must agree roughly. They do not if the difference is noise or the loss has a
        // kink.
        let sides = rises.map(|rise| (2.0 * rise - expected) / deviation);
        Ok(sides.into_iter().all(|side| side >= scale / 2.0).then_some(deviation))
    }

    /// The disagreement of slope and gradient in `direction`: the best agreement of all steps, or
    /// the common value of three neighbouring steps. If no three steps agree, the loss has no slope
    /// at this scale, and the gradient counts as right.
    fn disagreement(&mut self, direction: &Tensor, kind: Direction) -> Result<f64> {
        let mut deviations = [None; STEPS];
        let others = (0..STEPS).filter(|place| *place != FIRST);
        for place in std::iter::once(FIRST).chain(others) {
            let found = self.deviation(direction, kind, kind.steps()[place])?;
            if let Some(found) = found.map(f64::abs).filter(|found| *found <= SAME) {
                return Ok(found);
            }
            deviations[place] = found;
        }
        let seen: Vec<f64> = deviations.into_iter().flatten().collect();
        Ok(plateau(&seen).unwrap_or(0.0))
    }
}

/// The size of the middle deviation of the three neighbouring `deviations` that agree best. Three
/// agree if they have one sign and differ by at most half of the middle one. If a single step
/// deviates less than that, its deviation.
fn plateau(deviations: &[f64]) -> Option<f64> {
    let alike = |three: &[f64]| {
        let mut sorted = [three[0], three[1], three[2]];
        sorted.sort_by(f64::total_cmp);
        let [low, middle, high] = sorted;
        let spread = (high - low) / middle.abs();
        (low * high > 0.0 && spread <= 0.5).then_some((spread, middle.abs()))
    };
    let best = deviations.windows(3).filter_map(alike).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, middle)| deviations.iter().fold(middle, |least, deviation| least.min(deviation.abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_and_kinks_are_no_plateau_and_a_part_that_lacks_is_one() {
        // Noise falls fourfold from step to step. The share of a kink grows fourfold.
        assert_eq!(plateau(&[8.0, -2.0, 0.5, -0.12, 0.4]), None);
        assert_eq!(plateau(&[-0.06, -0.17, -0.48, -0.82, -0.98]), None);
        assert_eq!(plateau(&[0.3, 0.31, 0.3, 0.29, 0.33]), Some(0.29));
        // Where the loss bends, the longest steps may agree with each other. The shortest one is
        // right.
        assert_eq!(plateau(&[-0.06, -0.67, -0.82, -0.98, -0.99]), Some(0.06));
    }
}
