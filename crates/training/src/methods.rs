//! Adversarial training methods: how the training examples of a step are made.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, AttackConfig, Bim, FastNewton, Fgsm, Model, RandomFgsm};
use robustseg_random::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Result;

/// One way to make training examples.
pub trait TrainingMethod {
    /// The method's name in specs, on the command line and in results.
    fn name(&self) -> &'static str;

    /// Adversarial examples for the drawn samples: `images` (N, 3, H, W), f32 in `[0, 1]`, with `labels`
    /// (N, H, W), u8. `None` if the method trains on clean samples alone.
    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>>;
}

/// Training on clean samples alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basic;

impl TrainingMethod for Basic {
    fn name(&self) -> &'static str {
        "basic"
    }

    fn craft(
        &self,
        _model: &dyn Model,
        _images: &Tensor,
        _labels: &Tensor,
        _random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        Ok(None)
    }
}

/// Every attack is a training method: the drawn samples are replaced by its adversarial examples (eq. 13 of
/// Wiens & Hammer 2022).
impl<A: Attack> TrainingMethod for A {
    fn name(&self) -> &'static str {
        Attack::name(self)
    }

    fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<Adversarial>> {
        Ok(Some(self.perturb(model, images, labels, random)?))
    }
}

/// A training method with its settings, as a spec names it: `basic`, or `fgsm: {epsilon: 0.03}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MethodConfig {
    /// Clean samples alone.
    Basic,
    /// FGSM with a fixed step size.
    Fgsm(Fgsm),
    /// FGSM with a random step size.
    RandomFgsm(RandomFgsm),
    /// The basic iterative method.
    Bim(Bim),
    /// The Fast Newton method.
    FastNewton(FastNewton),
}

impl MethodConfig {
    /// The paper's five, with the paper's settings.
    pub fn paper() -> [Self; 5] {
        [
            Self::Basic,
            Self::Fgsm(Fgsm::default()),
            Self::RandomFgsm(RandomFgsm::default()),
            Self::Bim(Bim::default()),
            Self::FastNewton(FastNewton::default()),
        ]
    }

    /// The method's name.
    pub fn name(&self) -> &'static str {
        self.strategy().name()
    }

    /// Refuses settings out of range.
    pub fn validate(&self) -> Result<()> {
        let attack = match *self {
            Self::Basic => return Ok(()),
            Self::Fgsm(attack) => AttackConfig::Fgsm(attack),
            Self::RandomFgsm(attack) => AttackConfig::RandomFgsm(attack),
            Self::Bim(attack) => AttackConfig::Bim(attack),
            Self::FastNewton(attack) => AttackConfig::FastNewton(attack),
        };
        Ok(attack.validate()?)
    }

    /// The method itself.
    pub fn strategy(&self) -> Box<dyn TrainingMethod + Send> {
        match *self {
            Self::Basic => Box::new(Basic),
            Self::Fgsm(attack) => Box::new(attack),
            Self::RandomFgsm(attack) => Box::new(attack),
            Self::Bim(attack) => Box::new(attack),
            Self::FastNewton(attack) => Box::new(attack),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_read_as_specs_write_them() -> serde_json::Result<()> {
        let read = |text| serde_json::from_str::<MethodConfig>(text);
        assert_eq!(read(r#""basic""#)?, MethodConfig::Basic);
        let bim = Bim { epsilon: 0.02, alpha: 0.01, steps: 3 };
        assert_eq!(read(r#"{"bim": {"epsilon": 0.02}}"#)?, MethodConfig::Bim(bim));
        assert_eq!(read(r#"{"fast_newton": {}}"#)?, MethodConfig::FastNewton(FastNewton::default()));
        assert!(read(r#"{"fgsm": {"eps": 0.02}}"#).is_err());
        let names = MethodConfig::paper().map(|method| method.name());
        assert_eq!(names, ["basic", "fgsm", "random_fgsm", "bim", "fast_newton"]);
        let wide = MethodConfig::Fgsm(Fgsm { epsilon: 8.0 });
        assert!(wide.validate().unwrap_err().to_string().contains("did you mean 8/255"));
        Ok(())
    }
}
