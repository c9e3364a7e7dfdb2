//! Robustness curves as a spec names them.

use candle_core::Tensor;
use robustseg_attacks::{
    Model, bim_curve, check_alpha, check_epsilon, check_steps, cospgd_curve, fgsm_curve, segpgd_curve,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Parameters, Result};

/// A robustness curve: one attack at several epsilons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CurveConfig {
    /// The fast gradient sign method.
    Fgsm(FgsmCurve),
    /// The basic iterative method.
    Bim(IteratedCurve),
    /// `SegPGD`.
    #[serde(rename = "segpgd")]
    SegPgd(IteratedCurve),
    /// `CosPGD`.
    #[serde(rename = "cospgd")]
    CosPgd(IteratedCurve),
}

/// A curve of an attack without settings of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FgsmCurve {
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

/// A curve of an iterated attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct IteratedCurve {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps.
    pub steps: usize,
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

impl Default for FgsmCurve {
    fn default() -> Self {
        Self { epsilons: paper_epsilons() }
    }
}

impl Default for IteratedCurve {
    fn default() -> Self {
        Self { alpha: 0.004, steps: 10, epsilons: paper_epsilons() }
    }
}

/// 0, 0.005, ... 0.04.
fn paper_epsilons() -> Vec<f64> {
    (0..9).map(|point| f64::from(point) / 200.0).collect()
}

impl CurveConfig {
    /// The attack's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fgsm(_) => "fgsm",
            Self::Bim(_) => "bim",
            Self::SegPgd(_) => "segpgd",
            Self::CosPgd(_) => "cospgd",
        }
    }

    /// The curve's epsilons.
    pub fn epsilons(&self) -> &[f64] {
        match self {
            Self::Fgsm(curve) => &curve.epsilons,
            Self::Bim(curve) | Self::SegPgd(curve) | Self::CosPgd(curve) => &curve.epsilons,
        }
    }

    /// The attack's settings beside epsilon.
    pub fn parameters(&self) -> Parameters {
        match self {
            Self::Fgsm(_) => Parameters::default(),
            Self::Bim(curve) | Self::SegPgd(curve) | Self::CosPgd(curve) => {
                Parameters { alpha: Some(curve.alpha), steps: Some(curve.steps) }
            }
        }
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        if self.epsilons().is_empty() {
            let reason = "a curve needs at least one".into();
            return Err(Error::Setting { setting: "evaluation.curves.epsilons", reason });
        }
        self.epsilons().iter().try_for_each(|&epsilon| check_epsilon(epsilon))?;
        let Parameters { alpha, steps } = self.parameters();
        alpha.map_or(Ok(()), check_alpha)?;
        Ok(steps.map_or(Ok(()), check_steps)?)
    }

    /// The images at each of `epsilons`.
    pub(crate) fn attack(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        epsilons: &[f64],
    ) -> Result<Vec<Tensor>> {
        let images = match self {
            Self::Fgsm(_) => fgsm_curve(model, image, label, epsilons),
            Self::Bim(curve) => bim_curve(model, image, label, curve.alpha, curve.steps, epsilons),
            Self::SegPgd(curve) => segpgd_curve(model, image, label, curve.alpha, curve.steps, epsilons),
            Self::CosPgd(curve) => cospgd_curve(model, image, label, curve.alpha, curve.steps, epsilons),
        };
        Ok(images?)
    }
}
