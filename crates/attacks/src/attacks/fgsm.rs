//! The fast gradient sign method: Goodfellow, Shlens, Szegedy, *Explaining and Harnessing
//! Adversarial Examples*, ICLR 2015.

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, sign_step};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::attack::CurveDefaults;
use crate::gradient::{InputGradient, finite, unchecked};
use crate::{Adversarial, Attack, Case, Result};

/// One step of size epsilon along the sign of the cross-entropy's gradient (eq. 3). All epsilons
/// share one gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Fgsm {}

impl CurveDefaults for Fgsm {}

impl Attack for Fgsm {
    fn name(&self) -> &'static str {
        "fgsm"
    }

    fn title(&self) -> &'static str {
        "FGSM"
    }

    fn summary(&self) -> &'static str {
        "The fast gradient sign method."
    }

    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        _random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        steps(case, PixelObjective::CrossEntropy, sizes(case, epsilons)?)
    }

    fn backward_passes(&self, _epsilons: u64) -> u64 {
        1
    }

    fn starts_at_the_image(&self) -> bool {
        true
    }
}

/// For each of `epsilons` a tensor (N) that holds it for each image.
pub(super) fn sizes(case: &Case<'_>, epsilons: &[f64]) -> Result<Vec<Tensor>> {
    epsilons.iter().map(|&epsilon| case.for_each_image(epsilon)).collect()
}

/// One step along the sign of the objective's gradient for each of `sizes`. Each size is a tensor
/// (N) with one value per image.
pub(super) fn steps(
    case: &Case<'_>,
    objective: PixelObjective,
    sizes: Vec<Tensor>,
) -> Result<Vec<Vec<Adversarial>>> {
    let (InputGradient { value, gradient }, _) =
        unchecked(case.model(), case.image(), case.label(), objective)?;
    let image = case.image().detach();
    let step = |epsilon: Tensor| {
        let image = sign_step(&image, &gradient, &epsilon)?;
        Ok(vec![Adversarial { image, epsilon }])
    };
    let examples = sizes.into_iter().map(step).collect::<Result<_>>()?;
    // By now the GPU has all its work enqueued.
    finite("objective", &value.to_vec1()?)?;
    Ok(examples)
}
