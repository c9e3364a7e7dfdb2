//! The segmentation ensemble attack: Croce, Singh, Hein, *Towards Reliable Evaluation and Fast
//! Training of Robust Semantic Segmentation Models*, ECCV 2024.

use candle_core::Tensor;
use robustseg_ops::PixelObjective;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::{CurveDefaults, few_epsilons};
use crate::climb::right_pixels;
use crate::ranges::check_steps;
use crate::shrinking::Shrinking;
use crate::{Adversarial, Attack, Candidates, Case, Error, Result};

/// [`Apgd`](crate::Apgd) on three objectives that ignore pixels once they are wrong. Each objective
/// climbs in three shrinking balls of 2, 1.5 and 1 times epsilon, for 30, 30 and 40 % of the steps.
/// The next climb starts from the point with the fewest right pixels, projected onto the smaller
/// ball. The example is the candidate with the fewest right pixels of the three. An evaluation
/// takes the worst case of the three over its whole dataset.
///
/// As in the authors' program, the cross-entropy decides when steps are halved, whatever the
/// objective. The times of these reviews and their rule follow [`Apgd`](crate::Apgd) and its paper
/// (algorithm 1). The authors' program differs in both. It reviews after `floor(0.22 n)` of a
/// ball's n steps, then after intervals that shrink by `floor(0.03 n)` down to `floor(0.06 n)`. It
/// also halves where exactly three quarters of an interval's steps rose.
///
/// Balanced weights come from the image itself unless `dataset_weights` asks for those of the
/// dataset, as in the authors' program. With the image's weights, image and label suffice to attack
/// it, and its examples do not depend on the images evaluated with it (a split, a limit, a batch).
///
/// Each objective costs `steps` backward passes. If the steps fill all three balls, it costs three
/// additional forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sea {
    /// Number of steps for each objective, at least 1.
    pub steps: usize,
    /// Whether to start at a random point of the largest ball rather than at the image.
    pub random_start: bool,
    /// Whether to balance classes by their pixels in the dataset rather than in the image. The
    /// [`Case`] then needs the [class pixels](Case::with_class_pixels), which an evaluation counts
    /// over the images that it evaluates.
    pub dataset_weights: bool,
    /// Whether to climb the plain cross-entropy as a fourth objective. It is strong against networks
    /// that were trained with adversarial examples.
    pub cross_entropy: bool,
}

/// The objectives of the paper by name, in the order of the candidates.
const OBJECTIVES: [(&str, PixelObjective); 3] = [
    ("masked_cross_entropy", PixelObjective::MaskedCrossEntropy),
    ("balanced_masked_cross_entropy", PixelObjective::BalancedMaskedCrossEntropy),
    ("jensen_shannon", PixelObjective::JensenShannon),
];

impl Default for Sea {
    /// The paper's 300 steps from a random start on its three objectives, with weights of the image.
    fn default() -> Self {
        Self { steps: 300, random_start: true, dataset_weights: false, cross_entropy: false }
    }
}

impl CurveDefaults for Sea {
    fn epsilons() -> Vec<f64> {
        few_epsilons()
    }
}

impl Sea {
    /// The objectives by name, in the order of the candidates.
    fn objectives(&self) -> Vec<(&'static str, PixelObjective)> {
        let more = self.cross_entropy.then_some(("cross_entropy", PixelObjective::CrossEntropy));
        OBJECTIVES.into_iter().chain(more).collect()
    }

    /// The class pixels of `case` if `objective` is to be balanced by them.
    fn class_pixels<'a>(&self, case: &Case<'a>, objective: PixelObjective) -> Result<Option<&'a [u64]>> {
        if !self.dataset_weights || objective != PixelObjective::BalancedMaskedCrossEntropy {
            return Ok(None);
        }
        case.class_pixels().map(Some).ok_or_else(|| Error::Attack {
            name: self.name().into(),
            reason: "dataset_weights needs the class pixels of a dataset, which an evaluation of one counts"
                .into(),
        })
    }
}

impl Attack for Sea {
    fn name(&self) -> &'static str {
        "sea"
    }

    fn title(&self) -> &'static str {
        "SEA"
    }

    fn summary(&self) -> &'static str {
        "The segmentation ensemble attack: APGD on three objectives."
    }

    fn validate(&self) -> Result<()> {
        check_steps(self.steps)
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let mut examples = |epsilon: f64| -> Result<Vec<Adversarial>> {
            let example = |(_, objective)| {
                let (steps, random_start) = (self.steps, self.random_start);
                let class_pixels = self.class_pixels(case, objective)?;
                let climb = Shrinking { steps, random_start, objective: &|_, _| objective, class_pixels };
                let image = climb.examples(case, epsilon, |climbed| climbed.fewest_right, random)?;
                Ok(Adversarial { image, epsilon: case.for_each_image(epsilon)? })
            };
            self.objectives().into_iter().map(example).collect()
        };
        epsilons.iter().map(|&epsilon| examples(epsilon)).collect()
    }

    fn candidates(&self) -> Candidates {
        Candidates::Objectives(self.objectives().into_iter().map(|(name, _)| name).collect())
    }

    fn strength(&self, case: &Case<'_>, image: &Tensor) -> Result<Vec<f32>> {
        Ok(right_pixels(case, &case.logits(image)?)?.into_iter().map(|right| -right).collect())
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64).saturating_mul(self.objectives().len() as u64)
    }

    fn needs_class_pixels(&self) -> bool {
        self.dataset_weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

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
        let sea = Sea { steps: 10, ..Sea::default() };
        let case = Case::new(&model, &image, &label)?;
        sea.examples(&case, &[0.1], &mut robustseg_random::stream(0, "sea", [0; 3]))?;
        let start = seen.take().expect("the model saw it").to_dtype(DType::F64)?.flatten_all()?;
        let distances: Vec<f64> = start.to_vec1::<f64>()?.iter().map(|value| (value - 0.5).abs()).collect();
        // Uniform up to 0.2: half of the distances exceed 0.1, and hardly any reaches 0.2 itself.
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
