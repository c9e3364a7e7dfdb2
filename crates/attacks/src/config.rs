//! An attack with its settings and epsilon, as specs and results name it.

use std::fmt;
use std::sync::Arc;

use serde::de::VariantAccess;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::attack::{Adversarial, Attack};
use crate::attacks::{self, ENTRIES, Use};
use crate::curve_config::CurveConfig;
use crate::epsilon::EpsilonRole;
use crate::read::{self, Found, NAMES};
use crate::settings::Settings;
use crate::{Case, Error, Result};
use robustseg_random::Rng;

/// An attack with its settings and epsilon: `bim: {epsilon: 0.03, steps: 3}` in a spec.
///
/// ```
/// use robustseg_attacks::{AttackConfig, Bim, Settings};
///
/// let config = AttackConfig::new(Bim { alpha: 0.01, steps: 3 }, 0.03);
/// let mut changes = Settings::default();
/// changes.set("steps", 3);
/// assert_eq!(AttackConfig::by_name("bim", &changes)?, config);
/// # Ok::<(), robustseg_attacks::Error>(())
/// ```
#[derive(Clone)]
pub struct AttackConfig {
    attack: Arc<dyn Attack>,
    epsilon: f64,
}

impl AttackConfig {
    /// `attack` at `epsilon`: the radius of its ball, or the limit of its step (infinity for no
    /// limit).
    pub fn new(attack: impl Attack + 'static, epsilon: f64) -> Self {
        Self { attack: Arc::new(attack), epsilon }
    }

    /// Every registered attack with its default settings.
    pub fn all() -> Vec<Self> {
        let default =
            |attack: Arc<dyn Attack>| Self { epsilon: attack.epsilon_role().default_value(), attack };
        attacks::attacks().into_iter().map(default).collect()
    }

    /// The attack `name` with its default settings, except for `changes`. The key `epsilon` in
    /// `changes` sets the epsilon, whatever specs call it. The result is validated.
    ///
    /// # Errors
    /// [`Error::Attack`] for an unknown name or a change that the attack does not have,
    /// [`Error::Setting`] for a value out of range.
    pub fn by_name(name: &str, changes: &Settings) -> Result<Self> {
        let refuse = |reason: String| Error::Attack { name: name.into(), reason };
        let Some(index) = attacks::index_of(name) else {
            return Err(refuse(format!("unknown; there are {}", NAMES.join(", "))));
        };
        let attack = ENTRIES[index].default(Use::Examples);
        let role = attack.epsilon_role();
        let (mut settings, mut epsilon) = (attack.settings(), None);
        for (key, value) in changes.iter() {
            if key == "epsilon" || key == role.key() {
                let number = value.as_f64();
                let refusal = || refuse(format!("{key} must be a number, found {value}"));
                epsilon = Some(number.ok_or_else(refusal)?);
            } else if settings.get(key).is_some() {
                settings.set(key, value.clone());
            } else {
                return Err(refuse(format!("{key} is not a setting of it")));
            }
        }
        let attack = attacks::read(index, Value::Object(settings.into_map()));
        let attack = attack.map_err(|error| refuse(robustseg_words::plain(error)))?;
        let epsilon = epsilon.unwrap_or_else(|| attack.epsilon_role().default_value());
        let config = Self { attack, epsilon };
        config.validate()?;
        Ok(config)
    }

    /// Reads the settings and epsilon of the attack `name` from a variant of that name in another
    /// enumeration, such as that of training methods.
    ///
    /// # Errors
    /// The errors of reading an `AttackConfig`, and an unknown name.
    pub fn read_variant<'de, A: VariantAccess<'de>>(
        name: &str,
        variant: A,
    ) -> std::result::Result<Self, A::Error> {
        Ok(Self::from(read::variant(name, variant, Use::Examples, Self::key)?))
    }

    /// The JSON schema of the attack `name` with its settings and epsilon; `None` for an unknown
    /// name.
    #[cfg(feature = "schema")]
    pub fn schema_of(name: &str, generator: &mut schemars::SchemaGenerator) -> Option<Value> {
        let index = attacks::index_of(name)?;
        Some(crate::schema::choice_of_attack(&ENTRIES[index], generator))
    }

    /// The attack.
    pub fn attack(&self) -> &dyn Attack {
        self.attack.as_ref()
    }

    /// The attack as a curve of its one epsilon, to evaluate under it.
    pub fn curve(&self) -> CurveConfig {
        CurveConfig::of(Arc::clone(&self.attack), vec![self.epsilon])
    }

    /// Its epsilon.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The attack's name.
    pub fn name(&self) -> &'static str {
        self.attack.name()
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first such setting.
    pub fn validate(&self) -> Result<()> {
        self.attack.validate()?;
        self.attack.check_epsilon(self.epsilon)
    }

    /// The adversarial examples; see [`Attack::perturb`].
    ///
    /// # Errors
    /// As [`Attack::perturb`].
    pub fn perturb(&self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Adversarial> {
        self.attack.perturb(case, self.epsilon, random)
    }

    /// The key of epsilon among the fields.
    fn key(attack: &dyn Attack) -> &'static str {
        attack.epsilon_role().key()
    }

    /// The fields as specs write them.
    fn fields(&self) -> Settings {
        let role = self.attack.epsilon_role();
        let mut fields = Settings::default();
        if role != EpsilonRole::Limit {
            fields.set(role.key(), self.epsilon);
        }
        for (name, value) in self.attack.settings().iter() {
            fields.set(name, value.clone());
        }
        if role == EpsilonRole::Limit {
            fields.set(role.key(), self.epsilon.is_finite().then_some(self.epsilon));
        }
        fields
    }
}

impl Serialize for AttackConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize_under(self.name(), serializer)
    }
}

impl<'de> Deserialize<'de> for AttackConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(read::attack(deserializer, Use::Examples, Self::key)?))
    }
}

impl From<Found<Option<f64>>> for AttackConfig {
    fn from(found: Found<Option<f64>>) -> Self {
        let Found { attack, epsilon, .. } = found;
        let default = attack.epsilon_role().default_value();
        Self { epsilon: epsilon.flatten().unwrap_or(default), attack }
    }
}

impl PartialEq for AttackConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.fields() == other.fields()
    }
}

impl fmt::Debug for AttackConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", json!({ self.name(): self.fields() }))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for AttackConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AttackConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        crate::schema::attack(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use crate::{Bim, CosPgd, Dag, FastNewton, Start};

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).expect("a map")
    }

    #[test]
    fn every_attack_is_found_by_its_name_and_reads_as_it_is_written() -> Result<()> {
        let names: HashSet<&str> = NAMES.iter().copied().collect();
        assert_eq!(names.len(), NAMES.len(), "two attacks share a name: {NAMES:?}");
        for config in AttackConfig::all() {
            assert_eq!(AttackConfig::by_name(config.name(), &Settings::default())?, config);
            let written = serde_json::to_string(&config).expect("plain data");
            assert_eq!(serde_json::from_str::<AttackConfig>(&written).expect(&written), config);
        }
        Ok(())
    }

    #[test]
    fn names_and_changes() -> Result<()> {
        let some = settings(json!({"epsilon": 0.1, "alpha": 0.02, "steps": 5}));
        let bim = AttackConfig::by_name("bim", &some)?;
        assert_eq!(bim, AttackConfig::new(Bim { alpha: 0.02, steps: 5 }, 0.1));
        let newton = AttackConfig::by_name("fast_newton", &settings(json!({"epsilon": 0.1})))?;
        assert_eq!(newton, AttackConfig::new(FastNewton::default(), 0.1));
        let refusal = |name, changes| AttackConfig::by_name(name, &changes).unwrap_err().to_string();
        assert!(refusal("fgsm", some.clone()).contains("alpha is not a setting"));
        assert!(refusal("sea", some).contains("alpha is not a setting"));
        assert!(refusal("bim", settings(json!({"restarts": 2}))).contains("restarts is not"));
        let random = settings(json!({"start": "random"}));
        assert!(refusal("pgd", random.clone()).contains("start is not a setting"));
        let cospgd = AttackConfig::by_name("cospgd", &random)?;
        assert_eq!(cospgd, AttackConfig::new(CosPgd { start: Start::Random, ..CosPgd::default() }, 0.03));
        assert!(refusal("pgd", settings(json!({"restarts": 0}))).contains("restarts = 0"));
        assert!(refusal("bim", settings(json!({"steps": 1.5}))).contains("whole number"));
        assert!(AttackConfig::new(Dag { wrong: 0.0, ..Dag::default() }, 0.1).validate().is_err());
        assert!(refusal("cw", Settings::default()).contains("there are fgsm, random_fgsm"));
        Ok(())
    }

    #[test]
    fn specs_mix_settings_with_epsilon() {
        let read = |value: Value| serde_json::from_value::<AttackConfig>(value);
        let bim = read(json!({"bim": {"steps": 5, "epsilon": 0.1}})).expect("a config");
        assert_eq!(bim, AttackConfig::new(Bim { alpha: 0.01, steps: 5 }, 0.1));
        assert_eq!(serde_json::to_string(&bim).unwrap(), r#"{"bim":{"epsilon":0.1,"alpha":0.01,"steps":5}}"#);
        let newton = AttackConfig::new(FastNewton::default(), f64::INFINITY);
        assert_eq!(
            serde_json::to_string(&newton).unwrap(),
            r#"{"fast_newton":{"negative_gain":"literal","max_epsilon":null}}"#
        );
        assert_eq!(read(json!({"fast_newton": {"max_epsilon": null}})).unwrap(), newton);
        let refusal = |value| read(value).unwrap_err().to_string();
        assert_eq!(
            refusal(json!({"fgsm": {"epsilom": 1}})),
            "unknown key `epsilom`; did you mean `epsilon`?"
        );
        assert!(refusal(json!({"fast_newton": {"epsilon": 0.1}})).contains("did you mean `max_epsilon`"));
        assert!(refusal(json!({"cw": {}})).contains("unknown variant `cw`"));
    }
}
