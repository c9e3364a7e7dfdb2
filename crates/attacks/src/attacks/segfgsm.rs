//! `SegFGSM`: Gu, Zhao, Tresp, Torr, *SegPGD: An Effective and Efficient Adversarial Attack for
//! Evaluating and Boosting Segmentation Robustness*, ECCV 2022.

use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::fgsm::{sizes, steps};
use super::segpgd::objective;
use crate::attack::CurveDefaults;
use crate::{Adversarial, Attack, Case, Result};

/// The single step of [`SegPgd`](crate::SegPgd): one step of size epsilon along the sign of the
/// gradient of the cross-entropy over the pixels that are still right. Wrong pixels have no weight
/// at SegPGD's first step. All epsilons share one gradient. An image that is wrong everywhere does
/// not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SegFgsm {}

impl CurveDefaults for SegFgsm {}

impl Attack for SegFgsm {
    fn name(&self) -> &'static str {
        "segfgsm"
    }

    fn title(&self) -> &'static str {
        "SegFGSM"
    }

    fn summary(&self) -> &'static str {
        "SegFGSM: one step of SegPGD."
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        _random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        steps(case, objective(0, 1), sizes(case, epsilons)?)
    }

    fn backward_passes(&self, _epsilons: u64) -> u64 {
        1
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }
}
