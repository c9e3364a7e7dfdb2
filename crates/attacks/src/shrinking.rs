//! Climbs through shrinking balls: Croce, Singh, Hein, *Towards Reliable Evaluation and Fast
//! Training of Robust Semantic Segmentation Models*, ECCV 2024.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, project};
use robustseg_random::Rng;

use crate::climb::{Climb, Climbed, start};
use crate::{Case, Norm, Result, selection};

/// Three climbs in balls of 2, 1.5 and 1 times epsilon, for 30, 30 and 40 % of the steps. Each
/// climb hands a point on to the next, which projects it onto its smaller ball.
pub(crate) struct Shrinking<'a> {
    /// Number of steps of all climbs together.
    pub(crate) steps: usize,
    /// Whether to start at a random point of the largest ball rather than at the image.
    pub(crate) random_start: bool,
    /// The objective at a step of a climb, given its index from 0 and the climb's number of steps.
    pub(crate) objective: &'a dyn Fn(usize, usize) -> PixelObjective,
    /// The pixels of each class over which the objective is balanced, if not over each image's.
    pub(crate) class_pixels: Option<&'a [u64]>,
}

impl Shrinking<'_> {
    /// The point (N, 3, H, W), f32, that the last climb hands on. `hand_on` chooses the point.
    /// Images without a labelled pixel stay unchanged.
    pub(crate) fn examples(
        &self,
        case: &Case<'_>,
        epsilon: f64,
        hand_on: fn(Climbed) -> Tensor,
        random: &mut dyn Rng,
    ) -> Result<Tensor> {
        let original = case.image().detach().to_dtype(DType::F64)?;
        let mut point = start(&original, Norm::Linf, 2.0 * epsilon, self.random_start.then_some(random))?;
        for (steps, epsilon) in self.balls(epsilon) {
            let ball = Tensor::full(epsilon, case.len(), original.device())?;
            let from = project(&point, &original, &ball)?;
            let (norm, objective, class_pixels) = (Norm::Linf, self.objective, self.class_pixels);
            let climb = Climb { norm, epsilon, steps, objective, class_pixels };
            point = hand_on(climb.from(case, &original, &from)?);
        }
        let blank = selection::without_labels(case.label())?;
        selection::rows(&blank, &case.image().detach(), &point.to_dtype(DType::F32)?)
    }

    /// Steps and radius of each ball that gets any steps.
    fn balls(&self, epsilon: f64) -> impl Iterator<Item = (usize, f64)> {
        let share = self.steps * 3 / 10;
        let steps = [share, share, self.steps - 2 * share];
        let balls = steps.into_iter().zip([2.0, 1.5, 1.0].map(|times| times * epsilon));
        balls.filter(|(steps, _)| *steps > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balls_shrink_over_the_steps() {
        let objective = &|_, _| PixelObjective::CrossEntropy;
        let balls = |steps| {
            let climb = Shrinking { steps, random_start: false, objective, class_pixels: None };
            climb.balls(0.5).collect::<Vec<_>>()
        };
        assert_eq!(balls(300), [(90, 1.0), (90, 0.75), (120, 0.5)]);
        assert_eq!(balls(11), [(3, 1.0), (3, 0.75), (5, 0.5)]);
        assert_eq!(balls(2), [(2, 0.5)]);
    }
}
