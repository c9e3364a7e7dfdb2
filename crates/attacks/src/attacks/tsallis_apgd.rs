//! `TsallisPGD`, an attack on the Tsallis cross-entropy, IJCNN 2026, with the steps of APGD.

use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::{CurveDefaults, few_epsilons};
use crate::ranges::check_steps;
use crate::shrinking::Shrinking;
use crate::tsallis::{FIRST_AND_LAST, check_q, objective};
use crate::{Adversarial, Attack, Case, Result};

/// The steps of [`Apgd`](crate::Apgd) on the Tsallis cross-entropy
/// ([`PixelObjective::Tsallis`](crate::PixelObjective::Tsallis)). The attack climbs in the
/// shrinking balls of [`Sea`](crate::Sea). In each ball q runs linearly from `first_q` at the first
/// step to `last_q` at the last. The point of the highest cross-entropy goes to the next ball, and
/// that of the last ball is the example.
///
/// It costs `steps` backward passes, and up to three additional forward passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TsallisApgd {
    /// Number of steps in all three balls, at least 1.
    pub steps: usize,
    /// Whether to start at a random point of the largest ball rather than at the image.
    pub random_start: bool,
    /// The objective's q at the first step in a ball, from -100 to 1.
    pub first_q: f64,
    /// The objective's q at the last step in a ball, from -100 to 1.
    pub last_q: f64,
}

impl Default for TsallisApgd {
    /// The paper's settings: 300 steps from a random start, q from -2 to 1.
    fn default() -> Self {
        let [first_q, last_q] = FIRST_AND_LAST;
        Self { steps: 300, random_start: true, first_q, last_q }
    }
}

impl CurveDefaults for TsallisApgd {
    fn epsilons() -> Vec<f64> {
        few_epsilons()
    }
}

impl Attack for TsallisApgd {
    fn name(&self) -> &'static str {
        "tsallis_apgd"
    }

    fn title(&self) -> &'static str {
        "Tsallis-APGD"
    }

    fn summary(&self) -> &'static str {
        "TsallisPGD with APGD's steps in shrinking balls, as its authors run it."
    }

    fn validate(&self) -> Result<()> {
        check_steps(self.steps)?;
        check_q([self.first_q, self.last_q])
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let Self { steps, random_start, first_q, last_q } = *self;
        let objective = &|step, steps| objective([first_q, last_q], step, steps);
        let climb = Shrinking { steps, random_start, objective, class_pixels: None };
        let mut example = |epsilon: f64| {
            let image = climb.examples(case, epsilon, |climbed| climbed.highest, random)?;
            Ok(vec![Adversarial { image, epsilon: case.for_each_image(epsilon)? }])
        };
        epsilons.iter().map(|&epsilon| example(epsilon)).collect()
    }

    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons.saturating_mul(self.steps as u64)
    }
}
