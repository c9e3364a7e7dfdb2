//! APGD's climb of an objective inside a ball: Croce, Hein, *Reliable Evaluation of Adversarial
//! Robustness with an Ensemble of Diverse Parameter-free Attacks*, ICML 2020, algorithm 1.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, pixel_objective_per_image, predict};
use robustseg_random::Rng;

use crate::gradient::{InputGradient, Objective, finite, observe};
use crate::{Case, Norm, Result, selection};

/// A random point of the ball of radius `epsilon` around `original`, or `original` itself if there
/// is no stream to draw from.
pub(crate) fn start(
    original: &Tensor,
    norm: Norm,
    epsilon: f64,
    random: Option<&mut dyn Rng>,
) -> Result<Tensor> {
    let Some(random) = random else { return Ok(original.clone()) };
    let noise = norm.noise(original.shape(), original.device(), random)?;
    Ok((original + (noise * epsilon)?)?.clamp(0.0, 1.0)?)
}

/// The share of the new step in a movement (their alpha). The rest is the previous movement.
const OWN_SHARE: f64 = 0.75;
/// The step size is halved if fewer than this share of the steps raised the objective (their rho).
const RISING_SHARE: f64 = 0.75;

/// Steps with momentum that climb an objective inside a ball.
///
/// The cross-entropy decides whether a step rises and which point is highest, whatever the
/// objective. An objective that leaves out wrong pixels would not do: its value falls as the attack
/// succeeds.
pub(crate) struct Climb<'a> {
    pub(crate) norm: Norm,
    pub(crate) epsilon: f64,
    pub(crate) steps: usize,
    /// The objective at a step, given its index from 0 and the number of steps.
    pub(crate) objective: &'a dyn Fn(usize, usize) -> PixelObjective,
    /// The pixels of each class over which the objective is balanced, if not over each image's.
    pub(crate) class_pixels: Option<&'a [u64]>,
}

/// The best points of a climb, image by image; f64.
pub(crate) struct Climbed {
    /// The points of the largest cross-entropy.
    pub(crate) highest: Tensor,
    /// The points with the fewest right pixels; the last one among equals.
    pub(crate) fewest_right: Tensor,
}

/// An observation at a point: cross-entropy and right pixels of each image, and the gradient if
/// requested.
struct Observation {
    value: Vec<f32>,
    right: Vec<f32>,
    gradient: Option<Tensor>,
}

/// The best point of each image so far.
struct Best {
    image: Tensor,
    gradient: Tensor,
    value: Vec<f32>,
}

impl Climb<'_> {
    /// Climbs around `original` (N, 3, H, W), f64, from `start`. Costs `steps + 1` forward and
    /// `steps` backward passes.
    pub(crate) fn from(&self, case: &Case<'_>, original: &Tensor, start: &Tensor) -> Result<Climbed> {
        let count = original.dim(0)?;
        let ball = Tensor::full(self.epsilon, count, original.device())?;
        let (mut image, mut previous) = (start.clone(), start.clone());
        let Observation { mut value, mut right, gradient } = self.observe(case, start, Some(0))?;
        let mut gradient = gradient.expect("asked for");
        let mut best = Best { image: start.clone(), gradient: gradient.clone(), value: value.clone() };
        let mut fewest_right = start.clone();
        let mut schedule = Schedule::new(self.steps, self.epsilon, &value);
        for step in 1..=self.steps {
            let size = Tensor::new(schedule.sizes.clone(), original.device())?;
            let mut next = self.norm.project(&self.norm.step(&image, &gradient, &size)?, original, &ball)?;
            if step > 1 {
                let own = ((next - &image)? * OWN_SHARE)?;
                let drift = ((&image - &previous)? * (1.0 - OWN_SHARE))?;
                next = self.norm.project(&((&image + own)? + drift)?, original, &ball)?;
            }
            let observation = self.observe(case, &next, (step < self.steps).then_some(step))?;
            previous = image;
            image = next;
            schedule.record(&value, &observation.value);
            value = observation.value;
            let compare = |a: &[f32], b: &[f32], is: fn(&f32, &f32) -> bool| -> Vec<bool> {
                a.iter().zip(b).map(|(a, b)| is(a, b)).collect()
            };
            let fewer = compare(&observation.right, &right, f32::le);
            fewest_right = selection::rows(&fewer, &image, &fewest_right)?;
            right = right.iter().zip(&observation.right).map(|(a, b)| a.min(*b)).collect();
            let higher = compare(&value, &best.value, f32::gt);
            best.image = selection::rows(&higher, &image, &best.image)?;
            best.value = best.value.iter().zip(&value).map(|(a, b)| a.max(*b)).collect();
            let Some(next_gradient) = observation.gradient else { break };
            best.gradient = selection::rows(&higher, &next_gradient, &best.gradient)?;
            gradient = next_gradient;
            if let Some(back) = schedule.halve(step, &best.value) {
                image = selection::rows(&back, &best.image, &image)?;
                gradient = selection::rows(&back, &best.gradient, &gradient)?;
                for (index, _) in back.iter().enumerate().filter(|(_, back)| **back) {
                    value[index] = best.value[index];
                }
            }
        }
        Ok(Climbed { highest: best.image, fewest_right })
    }

    /// Observes `image`, with the gradient of the objective at `step` if there is one.
    fn observe(&self, case: &Case<'_>, image: &Tensor, step: Option<usize>) -> Result<Observation> {
        let (model, label) = (case.model(), case.label());
        let (gradient, logits) = if let Some(step) = step {
            let objective = match self.class_pixels {
                Some(pixels) => Objective::BalancedOver(pixels),
                None => Objective::Of((self.objective)(step, self.steps)),
            };
            let (InputGradient { gradient, .. }, logits) = observe(model, image, label, objective)?;
            (Some(gradient), logits)
        } else {
            (None, case.logits(image)?)
        };
        let value =
            pixel_objective_per_image(&logits, label, PixelObjective::CrossEntropy, model.alignment())?;
        let value = value.to_vec1()?;
        finite("cross-entropy", &value)?;
        Ok(Observation { value, right: right_pixels(case, &logits)?, gradient })
    }
}

/// The number of pixels of each image that `logits` predict correctly.
pub(crate) fn right_pixels(case: &Case<'_>, logits: &Tensor) -> Result<Vec<f32>> {
    let (_, height, width) = case.label().dims3()?;
    let right = predict(logits, height, width, case.model().alignment())?.eq(case.label())?;
    Ok(right.to_dtype(candle_core::DType::F32)?.flatten_from(1)?.sum(1)?.to_vec1()?)
}

/// The step size of each image and the record that decides when to halve it.
struct Schedule {
    sizes: Vec<f64>,
    checkpoints: Vec<usize>,
    last: usize,
    rises: Vec<usize>,
    halved: Vec<bool>,
    best: Vec<f32>,
}

impl Schedule {
    fn new(steps: usize, epsilon: f64, value: &[f32]) -> Self {
        let count = value.len();
        Self {
            sizes: vec![2.0 * epsilon; count],
            checkpoints: checkpoints(steps),
            last: 0,
            rises: vec![0; count],
            halved: vec![false; count],
            best: value.to_vec(),
        }
    }

    /// Records the values before and after a step.
    fn record(&mut self, before: &[f32], after: &[f32]) {
        for ((rises, before), after) in self.rises.iter_mut().zip(before).zip(after) {
            *rises += usize::from(after > before);
        }
    }

    /// At a checkpoint, halves the step size of each image whose steps rose too seldom since the
    /// last checkpoint. Also halves it if the best value has not changed since and the size was not
    /// halved then. Returns which images these are.
    fn halve(&mut self, step: usize, best: &[f32]) -> Option<Vec<bool>> {
        if !self.checkpoints.contains(&step) {
            return None;
        }
        let enough = RISING_SHARE * (step - self.last) as f64;
        for (index, &best) in best.iter().enumerate() {
            let stalled = !self.halved[index] && best == self.best[index];
            self.halved[index] = stalled || (self.rises[index] as f64) < enough;
            if self.halved[index] {
                self.sizes[index] /= 2.0;
            }
            self.rises[index] = 0;
            self.best[index] = best;
        }
        self.last = step;
        Some(self.halved.clone())
    }
}

/// The steps after which step sizes are reviewed: `ceil(p_j * steps)` with `p_0 = 0`, `p_1 = 0.22`,
/// `p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)`, up to 1.
fn checkpoints(steps: usize) -> Vec<usize> {
    // In hundredths, whose products are exact.
    let (mut last, mut share) = (0, 22);
    let mut found = Vec::new();
    while share <= 100 {
        found.push((share * steps).div_ceil(100));
        (last, share) = (share, share + (share - last).saturating_sub(3).max(6));
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn checkpoints_are_the_papers() {
        assert_eq!(checkpoints(100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(10), [3, 5, 6, 7, 8, 9, 10]);
        assert_eq!(checkpoints(1), [1]);
    }

    #[test]
    fn steps_are_halved_by_either_rule() {
        // The first rises at every step, the second at two of three. The third rises at every step
        // but never above its best.
        let mut schedule = Schedule::new(10, 0.5, &[0.0, 0.0, 9.0]);
        for (before, after) in [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)] {
            schedule
                .record(&[before, before, before], &[after, if after == 2.0 { 0.5 } else { after }, after]);
        }
        assert_eq!(schedule.halve(2, &[3.0, 3.0, 9.0]), None);
        assert_eq!(schedule.halve(3, &[3.0, 3.0, 9.0]), Some(vec![false, true, true]));
        assert_eq!(schedule.sizes, [1.0, 0.5, 0.5]);
        // The size was halved just now. An unchanged best value is then no reason to halve again,
        // but steps that do not rise are.
        schedule.record(&[0.0, 3.0, 0.0], &[1.0, 3.0, 1.0]);
        schedule.record(&[1.0, 3.0, 1.0], &[2.0, 3.0, 2.0]);
        assert_eq!(schedule.halve(5, &[3.0, 3.0, 9.0]), Some(vec![true, true, false]));
    }

    #[test]
    fn steps_of_which_exactly_the_share_rises_are_not_halved() {
        let mut schedule = Schedule::new(16, 0.5, &[0.0]);
        for (before, after) in [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 3.0)] {
            schedule.record(&[before], &[after]);
        }
        assert_eq!(schedule.halve(4, &[3.0]), Some(vec![false]));
    }

    #[test]
    fn right_pixels_are_counted_image_by_image() {
        let logits = [[1.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]].concat();
        let logits = Tensor::from_vec(logits, (2, 1, 3, 2), &Device::Cpu).unwrap();
        let label = Tensor::from_vec(vec![0_u8, 1, 255, 1, 0, 255], (2, 1, 3), &Device::Cpu).unwrap();
        let model = |image: &Tensor| Ok(image.clone());
        let image = Tensor::zeros((2, 3, 1, 3), DType::F32, &Device::Cpu).unwrap();
        let case = Case::new(&model, &image, &label).unwrap();
        assert_eq!(right_pixels(&case, &logits).unwrap(), [2.0, 1.0]);
    }
}
