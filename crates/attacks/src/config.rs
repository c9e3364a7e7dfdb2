//! Attacks by name, and the ranges of their settings.

use serde::{Deserialize, Serialize};

use crate::dag::check_wrong;
use crate::{
    Apgd, Attack, Bim, CosPgd, Dag, Error, FastNewton, Fgsm, MiFgsm, Pgd, RandomFgsm, Result, Sea, SegPgd,
    Start,
};

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
    /// Projected gradient descent from random starts.
    Pgd(Pgd),
    /// The momentum iterative method.
    MiFgsm(MiFgsm),
    /// `SegPGD`.
    #[serde(rename = "segpgd")]
    SegPgd(SegPgd),
    /// `CosPGD`.
    #[serde(rename = "cospgd")]
    CosPgd(CosPgd),
    /// Auto-PGD.
    Apgd(Apgd),
    /// The segmentation ensemble attack.
    Sea(Sea),
    /// Dense adversary generation.
    Dag(Dag),
}

/// Settings that replace an attack's defaults where they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `epsilon`, or the largest step of Fast Newton, or the ball of DAG.
    pub epsilon: Option<f64>,
    /// `alpha` of the attacks with steps of one size.
    pub alpha: Option<f64>,
    /// `steps` of the iterated attacks.
    pub steps: Option<usize>,
    /// `restarts` of PGD.
    pub restarts: Option<usize>,
    /// `start` of `SegPGD` and `CosPGD`.
    pub start: Option<Start>,
}

/// The settings that attacks have in common, those that one does not have left out.
#[derive(Default)]
struct Settings<'a> {
    epsilon: Option<&'a mut f64>,
    /// Epsilon of an attack that has a largest step instead, or none.
    max_epsilon: Option<&'a mut Option<f64>>,
    alpha: Option<&'a mut f64>,
    steps: Option<&'a mut usize>,
    restarts: Option<&'a mut usize>,
    start: Option<&'a mut Start>,
    decay: Option<&'a mut f64>,
    wrong: Option<&'a mut f64>,
}

impl AttackConfig {
    /// Every attack with its default settings.
    pub fn all() -> [Self; 11] {
        [
            Self::Fgsm(Fgsm::default()),
            Self::RandomFgsm(RandomFgsm::default()),
            Self::Bim(Bim::default()),
            Self::FastNewton(FastNewton::default()),
            Self::Pgd(Pgd::default()),
            Self::MiFgsm(MiFgsm::default()),
            Self::SegPgd(SegPgd::default()),
            Self::CosPgd(CosPgd::default()),
            Self::Apgd(Apgd::default()),
            Self::Sea(Sea::default()),
            Self::Dag(Dag::default()),
        ]
    }

    /// The attack called `name` with its default settings, but for `overrides`. The result is validated.
    ///
    /// # Errors
    /// [`Error::Attack`] for an unknown name or an override that the attack does not have,
    /// [`Error::Setting`] for a value out of range.
    pub fn by_name(name: &str, overrides: Overrides) -> Result<Self> {
        let all = Self::all();
        let names = || all.map(|config| config.name()).join(", ");
        let mut config = *all
            .iter()
            .find(|config| config.name() == name)
            .ok_or_else(|| refuse(name, format!("unknown; there are {}", names())))?;
        config
            .settings()
            .replace(overrides)
            .map_err(|setting| refuse(name, format!("{setting} is not a setting of it")))?;
        config.validate()?;
        Ok(config)
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        let mut copy = *self;
        copy.settings().validate()
    }

    /// Passes with a gradient that each image takes at most, or nearly so.
    pub fn backward_passes(&self) -> u64 {
        let mut copy = *self;
        let Settings { steps, restarts, .. } = copy.settings();
        let [steps, restarts] = [steps, restarts].map(|count| count.map_or(1, |count| *count as u64));
        let objectives = if let Self::Sea(_) = self { Sea::OBJECTIVES.len() as u64 } else { 1 };
        steps.saturating_mul(restarts).saturating_mul(objectives)
    }

    /// The attack's name.
    pub fn name(&self) -> &'static str {
        self.attack().name()
    }

    /// The attack itself.
    pub fn attack(&self) -> Box<dyn Attack> {
        match *self {
            Self::Fgsm(attack) => Box::new(attack),
            Self::RandomFgsm(attack) => Box::new(attack),
            Self::Bim(attack) => Box::new(attack),
            Self::FastNewton(attack) => Box::new(attack),
            Self::Pgd(attack) => Box::new(attack),
            Self::MiFgsm(attack) => Box::new(attack),
            Self::SegPgd(attack) => Box::new(attack),
            Self::CosPgd(attack) => Box::new(attack),
            Self::Apgd(attack) => Box::new(attack),
            Self::Sea(attack) => Box::new(attack),
            Self::Dag(attack) => Box::new(attack),
        }
    }

    fn settings(&mut self) -> Settings<'_> {
        let mut settings = Settings::default();
        match self {
            Self::FastNewton(FastNewton { max_epsilon, .. }) => settings.max_epsilon = Some(max_epsilon),
            Self::Fgsm(Fgsm { epsilon }) | Self::RandomFgsm(RandomFgsm { epsilon }) => {
                settings.epsilon = Some(epsilon);
            }
            Self::Bim(Bim { epsilon, alpha, steps }) => {
                settings =
                    Settings { epsilon: Some(epsilon), alpha: Some(alpha), steps: Some(steps), ..settings };
            }
            Self::SegPgd(SegPgd { epsilon, alpha, steps, start })
            | Self::CosPgd(CosPgd { epsilon, alpha, steps, start }) => {
                settings =
                    Settings { epsilon: Some(epsilon), alpha: Some(alpha), steps: Some(steps), ..settings };
                settings.start = Some(start);
            }
            Self::Pgd(Pgd { epsilon, alpha, steps, restarts }) => {
                settings =
                    Settings { epsilon: Some(epsilon), alpha: Some(alpha), steps: Some(steps), ..settings };
                settings.restarts = Some(restarts);
            }
            Self::MiFgsm(MiFgsm { epsilon, alpha, steps, decay }) => {
                settings =
                    Settings { epsilon: Some(epsilon), alpha: Some(alpha), steps: Some(steps), ..settings };
                settings.decay = Some(decay);
            }
            Self::Dag(Dag { alpha, steps, wrong, max_epsilon }) => {
                settings = Settings { alpha: Some(alpha), steps: Some(steps), ..settings };
                settings.max_epsilon = Some(max_epsilon);
                settings.wrong = Some(wrong);
            }
            Self::Apgd(Apgd { epsilon, steps, .. }) | Self::Sea(Sea { epsilon, steps, .. }) => {
                settings = Settings { epsilon: Some(epsilon), steps: Some(steps), ..settings };
            }
        }
        settings
    }
}

impl Settings<'_> {
    /// Takes over what is given; or says the first setting that is given and that there is not.
    fn replace(self, overrides: Overrides) -> Result<(), &'static str> {
        fn set<T>(name: &'static str, place: Option<&mut T>, value: Option<T>) -> Result<(), &'static str> {
            match (place, value) {
                (_, None) => Ok(()),
                (Some(place), Some(value)) => {
                    *place = value;
                    Ok(())
                }
                (None, Some(_)) => Err(name),
            }
        }
        let Overrides { epsilon, alpha, steps, restarts, start } = overrides;
        match self.max_epsilon {
            Some(place) => set("epsilon", Some(place), epsilon.map(Some))?,
            None => set("epsilon", self.epsilon, epsilon)?,
        }
        set("alpha", self.alpha, alpha)?;
        set("steps", self.steps, steps)?;
        set("restarts", self.restarts, restarts)?;
        set("start", self.start, start)
    }

    fn validate(self) -> Result<()> {
        self.epsilon.map_or(Ok(()), |value| check_epsilon(*value))?;
        self.max_epsilon.and_then(|value| *value).map_or(Ok(()), check_epsilon)?;
        self.alpha.map_or(Ok(()), |value| check_alpha(*value))?;
        self.steps.map_or(Ok(()), |value| check_steps(*value))?;
        self.restarts.map_or(Ok(()), |value| check_restarts(*value))?;
        self.decay.map_or(Ok(()), |value| check_decay(*value))?;
        self.wrong.map_or(Ok(()), |value| check_wrong(*value))
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
    check_count("steps", steps)
}

/// Refuses a number of starts below 1.
pub fn check_restarts(restarts: usize) -> Result<()> {
    check_count("restarts", restarts)
}

/// Refuses a decay of momentum that is negative or no number.
pub fn check_decay(decay: f64) -> Result<()> {
    if decay >= 0.0 && decay.is_finite() {
        return Ok(());
    }
    Err(Error::Setting { setting: "decay", value: decay, reason: "must be a number of at least 0".into() })
}

fn check_count(setting: &'static str, count: usize) -> Result<()> {
    if count >= 1 {
        return Ok(());
    }
    Err(Error::Setting { setting, value: 0.0, reason: "must be at least 1".into() })
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
            let message = check_epsilon(bad).unwrap_err().to_string();
            assert_eq!(message.contains("did you mean"), bad == 1.1, "{message}");
        }
        assert!(check_epsilon(0.0).is_ok() && check_epsilon(1.0).is_ok());
        assert!(check_alpha(0.0).is_err() && check_steps(0).is_err() && check_restarts(0).is_err());
        assert!(check_decay(-1.0).is_err() && check_decay(f64::NAN).is_err() && check_decay(0.0).is_ok());
    }

    #[test]
    fn names_and_overrides() -> Result<()> {
        let names = "fgsm random_fgsm bim fast_newton pgd mi_fgsm segpgd cospgd apgd sea dag";
        assert_eq!(AttackConfig::all().map(|config| config.name()).join(" "), names);
        for config in AttackConfig::all() {
            assert_eq!(AttackConfig::by_name(config.name(), Overrides::default())?, config);
        }
        let some =
            Overrides { epsilon: Some(0.1), alpha: Some(0.02), steps: Some(5), ..Overrides::default() };
        let bim = AttackConfig::by_name("bim", some)?;
        assert_eq!(bim, AttackConfig::Bim(Bim { epsilon: 0.1, alpha: 0.02, steps: 5 }));
        let newton =
            AttackConfig::by_name("fast_newton", Overrides { epsilon: Some(0.1), ..Overrides::default() })?;
        assert_eq!(
            newton,
            AttackConfig::FastNewton(FastNewton { max_epsilon: Some(0.1), ..FastNewton::default() })
        );
        let refusal = |name, overrides| AttackConfig::by_name(name, overrides).unwrap_err().to_string();
        assert!(refusal("fgsm", some).contains("alpha is not a setting"));
        assert!(refusal("sea", some).contains("alpha is not a setting"));
        assert!(refusal("bim", Overrides { restarts: Some(2), ..some }).contains("restarts is not"));
        let random = Overrides { start: Some(Start::Random), ..Overrides::default() };
        assert!(refusal("pgd", random).contains("start is not a setting"));
        let cospgd = AttackConfig::by_name("cospgd", random)?;
        assert_eq!(cospgd, AttackConfig::CosPgd(CosPgd { start: Start::Random, ..CosPgd::default() }));
        assert!(refusal("pgd", Overrides { restarts: Some(0), ..some }).contains("restarts = 0"));
        assert!(AttackConfig::Dag(Dag { wrong: 0.0, ..Dag::default() }).validate().is_err());
        assert!(refusal("cw", some).contains("there are fgsm, random_fgsm"));
        Ok(())
    }
}
