//! The segmentation ensemble attack: Croce, Singh, Hein, *Towards Reliable Evaluation and Fast Training of Robust
//! Semantic Segmentation Models*, ECCV 2024.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, project};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::apgd::{Climb, right_pixels, start};
use crate::{Adversarial, Attack, Model, Result, check_epsilon, check_steps, input, selection};

/// [`Apgd`](crate::Apgd) on three objectives that do not spend themselves on pixels that are wrong already, each in a
/// ball that shrinks: 2, 1.5 and 1 times `epsilon` for 30, 30 and 40 % of the steps, the former point projected.
/// From each climb the point with the fewest right pixels goes on. The example is the one of the three with the fewest
/// right pixels; what an evaluation takes of them is the worst case over its whole dataset.
///
/// As in the authors' program the cross-entropy decides when steps are halved, whatever is climbed. When that is looked at,
/// and by which rule, is [`Apgd`](crate::Apgd)'s, as its paper has it (algorithm 1). Their program counts otherwise: it looks
/// after `floor(0.22 n)` of a ball's n steps, then after intervals that shrink by `floor(0.03 n)` down to `floor(0.06 n)`, and
/// also halves where exactly three quarters of an interval's steps rose.
///
/// Balanced weights come from the image at hand; the authors' program counts the classes' pixels over the dataset that it
/// evaluates. So an image's examples do not depend on which others are evaluated with it (a split, a limit, a batch), and
/// nothing but image and label is needed to attack one.
///
/// Each objective costs `steps` backward passes and, if there are so many steps as to fill the three balls, three
/// forward passes more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sea {
    /// Radius of the l-infinity ball, in `[0, 1]`.
    pub epsilon: f64,
    /// Number of steps for each objective, at least 1.
    pub steps: usize,
    /// Whether to start at a random point of the largest ball rather than at the image.
    pub random_start: bool,
}

impl Default for Sea {
    /// Epsilon 0.03; 300 steps from a random start, as the paper's.
    fn default() -> Self {
        Self { epsilon: 0.03, steps: 300, random_start: true }
    }
}

impl Sea {
    /// The names of what [`Sea::candidates`] gives, in that order.
    pub const OBJECTIVES: [&str; 3] =
        ["masked_cross_entropy", "balanced_masked_cross_entropy", "jensen_shannon"];

    /// The examples (N, 3, H, W) for the three objectives.
    pub fn candidates(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Tensor>> {
        check_epsilon(self.epsilon)?;
        check_steps(self.steps)?;
        input::check(image, label)?;
        let original = image.detach().to_dtype(DType::F64)?;
        let blank = selection::without_labels(label)?;
        let objectives = [
            PixelObjective::MaskedCrossEntropy,
            PixelObjective::BalancedMaskedCrossEntropy,
            PixelObjective::JensenShannon,
        ];
        let found = objectives.map(|objective| {
            let random = self.random_start.then_some(&mut *random);
            let mut point: Option<Tensor> = None;
            let mut start = Some(start(&original, 2.0 * self.epsilon, random)?);
            for (steps, epsilon) in self.balls() {
                let ball = Tensor::full(epsilon, original.dim(0)?, original.device())?;
                let from = point.or(start.take()).expect("the first ball's start, or the former's point");
                let from = project(&from, &original, &ball)?;
                let climb = Climb { epsilon, steps, objective };
                point = Some(climb.from(model, &original, label, &from)?.fewest_right);
            }
            let point = point.expect("a ball has a step").to_dtype(DType::F32)?;
            selection::rows(&blank, &image.detach(), &point)
        });
        found.into_iter().collect()
    }

    /// Steps and radius of each ball that has any steps.
    fn balls(&self) -> impl Iterator<Item = (usize, f64)> {
        let share = self.steps * 3 / 10;
        let steps = [share, share, self.steps - 2 * share];
        let balls = steps.into_iter().zip([2.0, 1.5, 1.0].map(|times| times * self.epsilon));
        balls.filter(|(steps, _)| *steps > 0)
    }
}

impl Attack for Sea {
    fn name(&self) -> &'static str {
        "sea"
    }

    fn perturb(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        let candidates = self.candidates(model, image, label, random)?;
        let epsilon = Tensor::full(self.epsilon as f32, image.dim(0)?, image.device())?;
        let image = selection::largest(&candidates, |candidate| {
            let logits = model.logits(&candidate.to_dtype(model.image_dtype())?)?.detach();
            Ok(right_pixels(model, &logits, label)?.into_iter().map(|right| -right).collect())
        })?;
        Ok(Adversarial { image, epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balls_shrink_over_the_steps() {
        let balls = |steps| Sea { epsilon: 0.5, steps, random_start: false }.balls().collect::<Vec<_>>();
        assert_eq!(balls(300), [(90, 1.0), (90, 0.75), (120, 0.5)]);
        assert_eq!(balls(11), [(3, 1.0), (3, 0.75), (5, 0.5)]);
        assert_eq!(balls(2), [(2, 0.5)]);
    }

    #[test]
    fn random_starts_are_anywhere_in_the_first_ball() -> Result<()> {
        let seen = std::cell::RefCell::new(None);
        let model = |image: &Tensor| {
            seen.borrow_mut().get_or_insert_with(|| image.detach());
            image.permute((0, 2, 3, 1))
        };
        let device = &candle_core::Device::Cpu;
        let image = Tensor::full(0.5_f32, (1, 3, 20, 20), device)?;
        let label = Tensor::zeros((1, 20, 20), DType::U8, device)?;
        let sea = Sea { epsilon: 0.1, steps: 10, random_start: true };
        sea.candidates(&model, &image, &label, &mut robustseg_random::stream(0, "sea", [0; 3]))?;
        let start = seen.take().expect("the model saw it").to_dtype(DType::F64)?.flatten_all()?;
        let distances: Vec<f64> = start.to_vec1::<f64>()?.iter().map(|value| (value - 0.5).abs()).collect();
        // Uniform up to 0.2: none farther, half of them beyond 0.1, and next to none at the border itself.
        assert!(distances.iter().all(|distance| *distance <= 0.2 + 1e-6));
        let beyond = |limit: f64| distances.iter().filter(|distance| **distance > limit).count();
        assert!(
            (500..700).contains(&beyond(0.1)) && beyond(0.2 - 1e-6) < 10,
            "{} {}",
            beyond(0.1),
            beyond(0.2)
        );
        Ok(())
    }
}
