//! Auto-PGD: Croce, Hein, *Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
//! Attacks*, ICML 2020.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, pixel_objective_per_image, predict, project, sign_step};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::gradient::{finite, look};
use crate::iteration::noise;
use crate::{
    Adversarial, Attack, InputGradient, Model, Result, check_epsilon, check_steps, input, selection,
};

/// Sign steps with momentum on the cross-entropy, whose size starts at `2 * epsilon` and is halved, going back to the
/// best point, where the objective stops rising. The example is the point of the largest cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Apgd {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Number of steps, at least 1.
    pub steps: usize,
    /// Whether to start at a random point of the ball rather than at the image.
    pub random_start: bool,
}

impl Default for Apgd {
    /// Epsilon 0.03; 100 steps from a random start, as the paper's.
    fn default() -> Self {
        Self { epsilon: 0.03, steps: 100, random_start: true }
    }
}

impl Attack for Apgd {
    fn name(&self) -> &'static str {
        "apgd"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        check_epsilon(self.epsilon)?;
        check_steps(self.steps)?;
        let count = input::check(image, label)?;
        let original = image.detach().to_dtype(DType::F64)?;
        let start = start(&original, self.epsilon, self.random_start.then_some(random))?;
        let climb =
            Climb { epsilon: self.epsilon, steps: self.steps, objective: PixelObjective::CrossEntropy };
        let found = climb.from(model, &original, label, &start)?.highest.to_dtype(DType::F32)?;
        let image = selection::rows(&selection::without_labels(label)?, &image.detach(), &found)?;
        Ok(Adversarial { image, epsilon: Tensor::full(self.epsilon as f32, count, original.device())? })
    }
}

/// `original`, or if there is something to draw from, a random point of the ball of radius `epsilon` around it.
pub(crate) fn start(original: &Tensor, epsilon: f64, random: Option<&mut ChaCha8Rng>) -> Result<Tensor> {
    let Some(random) = random else { return Ok(original.clone()) };
    let noise = noise(original.shape(), original.device(), random)?;
    Ok((original + (noise * epsilon)?)?.clamp(0.0, 1.0)?)
}

/// The share of a step's own movement; the rest is the former step's (their alpha).
const OWN_SHARE: f64 = 0.75;
/// Steps halve where fewer than this share of them raised the objective (their rho).
const RISING_SHARE: f64 = 0.75;

/// APGD's climb of an objective inside a ball.
///
/// Whether it rises, and where it is highest, is told by the cross-entropy, whatever the objective: the value of an
/// objective that leaves out wrong pixels falls as the attack succeeds.
pub(crate) struct Climb {
    pub(crate) epsilon: f64,
    pub(crate) steps: usize,
    pub(crate) objective: PixelObjective,
}

/// Where a climb has been, image by image; f64.
pub(crate) struct Climbed {
    /// The points of the largest cross-entropy.
    pub(crate) highest: Tensor,
    /// The points where the fewest pixels are right, the last of equals.
    pub(crate) fewest_right: Tensor,
}

/// What is seen at a point: cross-entropy and right pixels of each image, and the gradient if it was asked for.
struct Sight {
    value: Vec<f32>,
    right: Vec<f32>,
    gradient: Option<Tensor>,
}

/// The best point so far, of each image.
struct Best {
    image: Tensor,
    gradient: Tensor,
    value: Vec<f32>,
}

impl Climb {
    /// Climbs around `original` (N, 3, H, W), f64, from `start`. Costs `steps + 1` forward and `steps` backward passes.
    pub(crate) fn from(
        &self,
        model: &dyn Model,
        original: &Tensor,
        label: &Tensor,
        start: &Tensor,
    ) -> Result<Climbed> {
        let count = original.dim(0)?;
        let ball = Tensor::full(self.epsilon, count, original.device())?;
        let (mut image, mut former) = (start.clone(), start.clone());
        let Sight { mut value, mut right, gradient } = self.look(model, start, label, true)?;
        let mut gradient = gradient.expect("asked for");
        let mut best = Best { image: start.clone(), gradient: gradient.clone(), value: value.clone() };
        let mut fewest_right = start.clone();
        let mut schedule = Schedule::new(self.steps, self.epsilon, &value);
        for step in 1..=self.steps {
            let size = Tensor::new(schedule.sizes.clone(), original.device())?;
            let mut next = project(&sign_step(&image, &gradient, &size)?, original, &ball)?;
            if step > 1 {
                let own = ((next - &image)? * OWN_SHARE)?;
                let drift = ((&image - &former)? * (1.0 - OWN_SHARE))?;
                next = project(&((&image + own)? + drift)?, original, &ball)?;
            }
            let last = step == self.steps;
            let sight = self.look(model, &next, label, !last)?;
            former = image;
            image = next;
            schedule.saw(&value, &sight.value);
            value = sight.value;
            let compare = |a: &[f32], b: &[f32], is: fn(&f32, &f32) -> bool| -> Vec<bool> {
                a.iter().zip(b).map(|(a, b)| is(a, b)).collect()
            };
            let fewer = compare(&sight.right, &right, f32::le);
            fewest_right = selection::rows(&fewer, &image, &fewest_right)?;
            right = right.iter().zip(&sight.right).map(|(a, b)| a.min(*b)).collect();
            let higher = compare(&value, &best.value, f32::gt);
            best.image = selection::rows(&higher, &image, &best.image)?;
            best.value = best.value.iter().zip(&value).map(|(a, b)| a.max(*b)).collect();
            let Some(seen) = sight.gradient else { break };
            best.gradient = selection::rows(&higher, &seen, &best.gradient)?;
            gradient = seen;
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

    fn look(&self, model: &dyn Model, image: &Tensor, label: &Tensor, gradient: bool) -> Result<Sight> {
        let (gradient, logits) = if gradient {
            let (InputGradient { gradient, .. }, logits) = look(model, image, label, self.objective)?;
            (Some(gradient), logits)
        } else {
            (None, model.logits(&image.to_dtype(model.image_dtype())?)?.detach())
        };
        let value =
            pixel_objective_per_image(&logits, label, PixelObjective::CrossEntropy, model.alignment())?;
        let value = value.to_vec1()?;
        finite("cross-entropy", &value)?;
        Ok(Sight { value, right: right_pixels(model, &logits, label)?, gradient })
    }
}

/// How many pixels of each image are predicted as `label` says.
pub(crate) fn right_pixels(model: &dyn Model, logits: &Tensor, label: &Tensor) -> Result<Vec<f32>> {
    let (_, height, width) = label.dims3()?;
    let right = predict(logits, height, width, model.alignment())?.eq(label)?;
    Ok(right.to_dtype(DType::F32)?.flatten_from(1)?.sum(1)?.to_vec1()?)
}

/// APGD's step sizes, one an image, and what decides that they are halved.
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

    /// Takes up the values before and after a step.
    fn saw(&mut self, before: &[f32], after: &[f32]) {
        for ((rises, before), after) in self.rises.iter_mut().zip(before).zip(after) {
            *rises += usize::from(after > before);
        }
    }

    /// At a checkpoint halves the steps of images that rose too seldom since the last one, or whose best value is the
    /// same as then although their steps were not halved there. Says which.
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

/// The steps after which sizes are looked at: `ceil(p_j * steps)` with `p_0 = 0`, `p_1 = 0.22`,
/// `p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)`, up to 1.
fn checkpoints(steps: usize) -> Vec<usize> {
    // In hundredths, whose products are exact.
    let (mut former, mut share) = (0, 22);
    let mut found = Vec::new();
    while share <= 100 {
        found.push((share * steps).div_ceil(100));
        (former, share) = (share, share + (share - former).saturating_sub(3).max(6));
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use robustseg_random::stream;
    use std::cell::RefCell;

    #[test]
    fn checkpoints_are_the_papers() {
        assert_eq!(checkpoints(100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(checkpoints(10), [3, 5, 6, 7, 8, 9, 10]);
        assert_eq!(checkpoints(1), [1]);
    }

    #[test]
    fn steps_are_halved_by_either_rule() {
        // The first rises at every step, the second at two of three, the third at all but above its best at none.
        let mut schedule = Schedule::new(10, 0.5, &[0.0, 0.0, 9.0]);
        for (before, after) in [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)] {
            schedule.saw(&[before, before, before], &[after, if after == 2.0 { 0.5 } else { after }, after]);
        }
        assert_eq!(schedule.halve(2, &[3.0, 3.0, 9.0]), None);
        assert_eq!(schedule.halve(3, &[3.0, 3.0, 9.0]), Some(vec![false, true, true]));
        assert_eq!(schedule.sizes, [1.0, 0.5, 0.5]);
        // Halved a moment ago: a best value that stays is no reason to halve again, steps that do not rise are.
        schedule.saw(&[0.0, 3.0, 0.0], &[1.0, 3.0, 1.0]);
        schedule.saw(&[1.0, 3.0, 1.0], &[2.0, 3.0, 2.0]);
        assert_eq!(schedule.halve(5, &[3.0, 3.0, 9.0]), Some(vec![true, true, false]));
    }

    #[test]
    fn steps_of_which_exactly_the_share_rises_are_not_halved() {
        let mut schedule = Schedule::new(16, 0.5, &[0.0]);
        for (before, after) in [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 3.0)] {
            schedule.saw(&[before], &[after]);
        }
        assert_eq!(schedule.halve(4, &[3.0]), Some(vec![false]));
    }

    #[test]
    fn a_step_has_a_quarter_of_the_former_one_in_it() {
        // One pixel, whose cross-entropy is highest where its channels are 0.53.
        let seen = RefCell::new(Vec::new());
        let model = |image: &Tensor| {
            seen.borrow_mut().push(image.flatten_all()?.to_vec1::<f32>()?[0]);
            let far = (image - 0.53)?.sqr()?.sum_keepdim(1)?;
            Tensor::cat(&[&far.zeros_like()?, &far.neg()?], 1)?.permute((0, 2, 3, 1))?.contiguous()
        };
        let image = Tensor::full(0.5_f32, (1, 3, 1, 1), &Device::Cpu).unwrap();
        let label = Tensor::zeros((1, 1, 1), DType::U8, &Device::Cpu).unwrap();
        let apgd = Apgd { epsilon: 0.1, steps: 20, random_start: false };
        apgd.perturb(&model, &image, &label, &mut stream(0, "test", [0; 3])).unwrap();
        // By hand: to the ball's surface, and then 3/4 of the way to the other side and 1/4 of the former way.
        for (seen, expected) in seen.borrow().iter().zip([0.5, 0.6, 0.475, 0.5375, 0.45]) {
            assert!((seen - expected).abs() < 1e-6, "{seen} is not {expected}");
        }
    }

    #[test]
    fn right_pixels_are_counted_image_by_image() {
        let logits = [[1.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]].concat();
        let logits = Tensor::from_vec(logits, (2, 1, 3, 2), &Device::Cpu).unwrap();
        let label = Tensor::from_vec(vec![0_u8, 1, 255, 1, 0, 255], (2, 1, 3), &Device::Cpu).unwrap();
        let model = |image: &Tensor| Ok(image.clone());
        assert_eq!(right_pixels(&model, &logits, &label).unwrap(), [2.0, 1.0]);
    }
}
