//! Robustness curves as a spec names them.

use candle_core::Tensor;
use robustseg_attacks::{
    Apgd, Attack, CosPgd, MiFgsm, Model, Pgd, Sea, SegPgd, Start, bim_curve, check_alpha, check_decay,
    check_epsilon, check_restarts, check_steps, cospgd_curve, fgsm_curve, mi_fgsm_curve, pgd_curve,
    segpgd_curve,
};
use robustseg_random::ChaCha8Rng;
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
    /// Projected gradient descent from random starts.
    Pgd(PgdCurve),
    /// The momentum iterative method.
    MiFgsm(MiFgsmCurve),
    /// `SegPGD`.
    #[serde(rename = "segpgd")]
    SegPgd(StartedCurve),
    /// `CosPGD`.
    #[serde(rename = "cospgd")]
    CosPgd(StartedCurve),
    /// Auto-PGD.
    Apgd(ApgdCurve),
    /// The segmentation ensemble attack.
    Sea(SeaCurve),
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

/// A curve of an iterated attack that starts at the image or at a random point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StartedCurve {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps.
    pub steps: usize,
    /// Where to start: at a random point of the ball, as the papers of these attacks, or at the image.
    pub start: Start,
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

/// A curve of the worst case over random starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PgdCurve {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps from each start.
    pub steps: usize,
    /// Number of random starts.
    pub restarts: usize,
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

/// A curve of an iterated attack with momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MiFgsmCurve {
    /// Size of one step, in `(0, 1]`.
    pub alpha: f64,
    /// Number of steps.
    pub steps: usize,
    /// What momentum keeps at a step, at least 0.
    pub decay: f64,
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

/// A curve of APGD from a random start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ApgdCurve {
    /// Number of steps.
    pub steps: usize,
    /// The curve's epsilons, each in `[0, 1]`; 0 is the clean image.
    pub epsilons: Vec<f64>,
}

/// A curve of the worst case over SEA's three objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SeaCurve {
    /// Number of steps for each objective.
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

impl Default for StartedCurve {
    /// As [`IteratedCurve`], from a random start.
    fn default() -> Self {
        Self { alpha: 0.004, steps: 10, start: Start::Random, epsilons: paper_epsilons() }
    }
}

impl Default for PgdCurve {
    /// As [`IteratedCurve`], five starts.
    fn default() -> Self {
        Self { alpha: 0.004, steps: 10, restarts: 5, epsilons: paper_epsilons() }
    }
}

impl Default for MiFgsmCurve {
    /// As [`IteratedCurve`], decay 1.
    fn default() -> Self {
        Self { alpha: 0.004, steps: 10, decay: 1.0, epsilons: paper_epsilons() }
    }
}

impl Default for ApgdCurve {
    /// 100 steps at each of four epsilons that [`IteratedCurve`] has too: nothing is shared between them.
    fn default() -> Self {
        Self { steps: Apgd::default().steps, epsilons: few_epsilons() }
    }
}

impl Default for SeaCurve {
    /// 300 steps at each of four epsilons that [`IteratedCurve`] has too: nothing is shared between them.
    fn default() -> Self {
        Self { steps: Sea::default().steps, epsilons: few_epsilons() }
    }
}

/// 0, 0.005, ... 0.04.
fn paper_epsilons() -> Vec<f64> {
    (0..9).map(|point| f64::from(point) / 200.0).collect()
}

/// 0, 0.01, ... 0.04.
fn few_epsilons() -> Vec<f64> {
    (0..5).map(|point| f64::from(point) / 100.0).collect()
}

impl CurveConfig {
    /// The attack's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fgsm(_) => "fgsm",
            Self::Bim(_) => "bim",
            Self::Pgd(_) => "pgd",
            Self::MiFgsm(_) => "mi_fgsm",
            Self::SegPgd(_) => "segpgd",
            Self::CosPgd(_) => "cospgd",
            Self::Apgd(_) => "apgd",
            Self::Sea(_) => "sea",
        }
    }

    /// The curve's epsilons.
    pub fn epsilons(&self) -> &[f64] {
        match self {
            Self::Fgsm(curve) => &curve.epsilons,
            Self::Bim(curve) => &curve.epsilons,
            Self::SegPgd(curve) | Self::CosPgd(curve) => &curve.epsilons,
            Self::Pgd(curve) => &curve.epsilons,
            Self::MiFgsm(curve) => &curve.epsilons,
            Self::Apgd(curve) => &curve.epsilons,
            Self::Sea(curve) => &curve.epsilons,
        }
    }

    /// The attack's settings beside epsilon.
    pub fn parameters(&self) -> Parameters {
        let none = Parameters::default();
        match self {
            Self::Fgsm(_) => none,
            Self::Bim(curve) => Parameters { alpha: Some(curve.alpha), steps: Some(curve.steps), ..none },
            Self::SegPgd(StartedCurve { alpha, steps, start, .. })
            | Self::CosPgd(StartedCurve { alpha, steps, start, .. }) => {
                Parameters { alpha: Some(*alpha), steps: Some(*steps), start: Some(*start), ..none }
            }
            Self::Pgd(PgdCurve { alpha, steps, restarts, .. }) => {
                Parameters { alpha: Some(*alpha), steps: Some(*steps), restarts: Some(*restarts), ..none }
            }
            Self::MiFgsm(MiFgsmCurve { alpha, steps, decay, .. }) => {
                Parameters { alpha: Some(*alpha), steps: Some(*steps), decay: Some(*decay), ..none }
            }
            Self::Apgd(ApgdCurve { steps, .. }) | Self::Sea(SeaCurve { steps, .. }) => {
                Parameters { steps: Some(*steps), ..none }
            }
        }
    }

    /// The names of the examples of an image, where there are several.
    pub fn candidates(&self) -> Vec<String> {
        match self {
            Self::Pgd(PgdCurve { restarts, .. }) if *restarts > 1 => {
                (1..=*restarts).map(|start| format!("start_{start}")).collect()
            }
            Self::Sea(_) => Sea::OBJECTIVES.map(String::from).into(),
            _ => Vec::new(),
        }
    }

    /// Backward passes that an image costs at one epsilon, if nothing is shared.
    pub fn backward_passes(&self) -> usize {
        let Parameters { steps, restarts, .. } = self.parameters();
        let each = if let Self::Sea(_) = self { Sea::OBJECTIVES.len() } else { restarts.unwrap_or(1) };
        steps.unwrap_or(1) * each
    }

    /// Whether the attack starts at the image itself, so that what does not move has no gradient.
    pub(crate) fn starts_at_the_image(&self) -> bool {
        match self {
            Self::Fgsm(_) | Self::Bim(_) | Self::MiFgsm(_) => true,
            Self::SegPgd(curve) | Self::CosPgd(curve) => curve.start == Start::Image,
            Self::Pgd(_) | Self::Apgd(_) | Self::Sea(_) => false,
        }
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        if self.epsilons().is_empty() {
            let reason = "a curve needs at least one".into();
            return Err(Error::Setting { setting: "evaluation.curves.epsilons", reason });
        }
        self.epsilons().iter().try_for_each(|&epsilon| check_epsilon(epsilon))?;
        let Parameters { alpha, steps, restarts, decay, .. } = self.parameters();
        alpha.map_or(Ok(()), check_alpha)?;
        steps.map_or(Ok(()), check_steps)?;
        restarts.map_or(Ok(()), check_restarts)?;
        Ok(decay.map_or(Ok(()), check_decay)?)
    }

    /// The images at each of `epsilons`: one, or as many as [`CurveConfig::candidates`] names.
    pub(crate) fn attack(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        epsilons: &[f64],
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Tensor>>> {
        let images = match self {
            Self::Fgsm(_) => fgsm_curve(model, image, label, epsilons)?,
            Self::Bim(curve) => bim_curve(model, image, label, curve.alpha, curve.steps, epsilons)?,
            &Self::SegPgd(StartedCurve { alpha, steps, start, .. }) => {
                let attack = SegPgd { alpha, steps, start, ..SegPgd::default() };
                segpgd_curve(model, image, label, attack, epsilons, random)?
            }
            &Self::CosPgd(StartedCurve { alpha, steps, start, .. }) => {
                let attack = CosPgd { alpha, steps, start, ..CosPgd::default() };
                cospgd_curve(model, image, label, attack, epsilons, random)?
            }
            &Self::MiFgsm(MiFgsmCurve { alpha, steps, decay, .. }) => {
                let attack = MiFgsm { alpha, steps, decay, ..MiFgsm::default() };
                mi_fgsm_curve(model, image, label, attack, epsilons)?
            }
            &Self::Pgd(PgdCurve { alpha, steps, restarts, .. }) => {
                let attack = Pgd { alpha, steps, restarts, ..Pgd::default() };
                return Ok(pgd_curve(model, image, label, attack, epsilons, random)?);
            }
            &Self::Apgd(ApgdCurve { steps, .. }) => {
                let attack = |&epsilon| {
                    let attack = Apgd { epsilon, steps, ..Apgd::default() };
                    Ok(attack.perturb(model, image, label, random)?.image)
                };
                epsilons.iter().map(attack).collect::<Result<_>>()?
            }
            &Self::Sea(SeaCurve { steps, .. }) => {
                let attack = |&epsilon| {
                    let attack = Sea { epsilon, steps, ..Sea::default() };
                    Ok(attack.candidates(model, image, label, random)?)
                };
                return epsilons.iter().map(attack).collect();
            }
        };
        Ok(images.into_iter().map(|image| vec![image]).collect())
    }
}
