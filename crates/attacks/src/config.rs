//! Attacks by name, and the ranges of their settings.

use serde::{Deserialize, Serialize};

use crate::{Attack, Bim, CosPgd, Error, FastNewton, Fgsm, RandomFgsm, Result, SegPgd};

/// An attack with its settings, as a spec or the command line names it: `bim: {epsilon: 0.03}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AttackConfig {
    /// The fast gradient sign method.
    Fgsm(Fgsm),
    /// FGSM with a random step size.
    RandomFgsm(RandomFgsm),
    /// The basic iterative method.
    Bim(Bim),
    /// The Fast Newton method.
    FastNewton(FastNewton),
    /// `SegPGD`.
    #[serde(rename = "segpgd")]
    SegPgd(SegPgd),
    /// `CosPGD`.
    #[serde(rename = "cospgd")]
    CosPgd(CosPgd),
}

/// Settings that replace an attack's defaults where they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `epsilon`, or the largest step of Fast Newton.
    pub epsilon: Option<f64>,
    /// `alpha` of the iterated attacks.
    pub alpha: Option<f64>,
    /// `steps` of the iterated attacks.
    pub steps: Option<usize>,
}

impl AttackConfig {
    /// The names that [`AttackConfig::by_name`] knows.
    pub const NAMES: [&str; 6] = ["fgsm", "random_fgsm", "bim", "fast_newton", "segpgd", "cospgd"];

    /// The attack called `name` with its default settings, but for `overrides`. The result is validated.
    ///
    /// # Errors
    /// [`Error::Attack`] for an unknown name or an override that the attack does not have,
    /// [`Error::Setting`] for a value out of range.
    pub fn by_name(name: &str, overrides: Overrides) -> Result<Self> {
        let mut config = match name {
            "fgsm" => Self::Fgsm(Fgsm::default()),
            "random_fgsm" => Self::RandomFgsm(RandomFgsm::default()),
            "bim" => Self::Bim(Bim::default()),
            "fast_newton" => Self::FastNewton(FastNewton::default()),
            "segpgd" => Self::SegPgd(SegPgd::default()),
            "cospgd" => Self::CosPgd(CosPgd::default()),
            _ => {
                return Err(refuse(name, format!("unknown; there are {}", Self::NAMES.join(", "))));
            }
        };
        let (epsilon, iteration) = match &mut config {
            Self::Fgsm(Fgsm { epsilon }) | Self::RandomFgsm(RandomFgsm { epsilon }) => (epsilon, None),
            Self::Bim(Bim { epsilon, alpha, steps })
            | Self::SegPgd(SegPgd { epsilon, alpha, steps })
            | Self::CosPgd(CosPgd { epsilon, alpha, steps }) => (epsilon, Some((alpha, steps))),
            Self::FastNewton(attack) => {
                attack.max_epsilon = overrides.epsilon;
                (&mut 0.0, None)
            }
        };
        *epsilon = overrides.epsilon.unwrap_or(*epsilon);
        match iteration {
            Some((alpha, steps)) => {
                *alpha = overrides.alpha.unwrap_or(*alpha);
                *steps = overrides.steps.unwrap_or(*steps);
            }
            None if overrides.alpha.is_some() || overrides.steps.is_some() => {
                return Err(refuse(
                    name,
                    "takes one step: neither alpha nor steps is a setting of it".into(),
                ));
            }
            None => {}
        }
        config.validate()?;
        Ok(config)
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Fgsm(Fgsm { epsilon }) | Self::RandomFgsm(RandomFgsm { epsilon }) => check_epsilon(epsilon),
            Self::Bim(Bim { epsilon, alpha, steps })
            | Self::SegPgd(SegPgd { epsilon, alpha, steps })
            | Self::CosPgd(CosPgd { epsilon, alpha, steps }) => {
                check_epsilon(epsilon)?;
                check_alpha(alpha)?;
                check_steps(steps)
            }
            Self::FastNewton(FastNewton { max_epsilon, .. }) => max_epsilon.map_or(Ok(()), check_epsilon),
        }
    }

    /// The attack itself.
    pub fn attack(&self) -> Box<dyn Attack> {
        match *self {
            Self::Fgsm(attack) => Box::new(attack),
            Self::RandomFgsm(attack) => Box::new(attack),
            Self::Bim(attack) => Box::new(attack),
            Self::FastNewton(attack) => Box::new(attack),
            Self::SegPgd(attack) => Box::new(attack),
            Self::CosPgd(attack) => Box::new(attack),
        }
    }
}

fn refuse(name: &str, reason: String) -> Error {
    Error::Attack { name: name.into(), reason }
}

/// Refuses an epsilon outside `[0, 1]`; above 1 it guesses that steps of 1/255 were meant.
pub fn check_epsilon(epsilon: f64) -> Result<()> {
    check_unit("epsilon", epsilon, epsilon >= 0.0, "must be a number from 0 to 1")
}

/// Refuses a step size outside `(0, 1]`; above 1 it guesses that steps of 1/255 were meant.
pub fn check_alpha(alpha: f64) -> Result<()> {
    check_unit("alpha", alpha, alpha > 0.0, "must be a number above 0 and at most 1")
}

/// Refuses a number of steps below 1.
pub fn check_steps(steps: usize) -> Result<()> {
    if steps >= 1 {
        return Ok(());
    }
    Err(Error::Setting { setting: "steps", value: 0.0, reason: "must be at least 1".into() })
}

fn check_unit(setting: &'static str, value: f64, above_least: bool, range: &str) -> Result<()> {
    if above_least && value <= 1.0 {
        return Ok(());
    }
    let reason = if value > 1.0 && value.is_finite() {
        format!("{setting} is in units of [0,1]; did you mean {value}/255 = {:.4}?", value / 255.0)
    } else {
        range.into()
    };
    Err(Error::Setting { setting, value, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epsilon_of_eight_is_guessed() {
        let message = check_epsilon(8.0).unwrap_err().to_string();
        assert_eq!(message, "epsilon = 8: epsilon is in units of [0,1]; did you mean 8/255 = 0.0314?");
        for bad in [-0.1, f64::NAN, f64::INFINITY, 1.1] {
            assert!(check_epsilon(bad).is_err(), "{bad}");
        }
        assert!(check_epsilon(0.0).is_ok() && check_epsilon(1.0).is_ok());
        assert!(check_alpha(0.0).is_err() && check_steps(0).is_err());
    }

    #[test]
    fn names_and_overrides() -> Result<()> {
        for name in AttackConfig::NAMES {
            assert_eq!(AttackConfig::by_name(name, Overrides::default())?.attack().name(), name);
        }
        let some = Overrides { epsilon: Some(0.1), alpha: Some(0.02), steps: Some(5) };
        let bim = AttackConfig::by_name("bim", some)?;
        assert_eq!(bim, AttackConfig::Bim(Bim { epsilon: 0.1, alpha: 0.02, steps: 5 }));
        let newton =
            AttackConfig::by_name("fast_newton", Overrides { epsilon: Some(0.1), ..Overrides::default() })?;
        assert_eq!(
            newton,
            AttackConfig::FastNewton(FastNewton { max_epsilon: Some(0.1), ..FastNewton::default() })
        );
        assert!(
            AttackConfig::by_name("fgsm", some).unwrap_err().to_string().contains("neither alpha nor steps")
        );
        assert!(
            AttackConfig::by_name("pgd", some)
                .unwrap_err()
                .to_string()
                .contains("there are fgsm, random_fgsm")
        );
        Ok(())
    }
}
