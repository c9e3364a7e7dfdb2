//! A robustness curve: an attack with its settings and epsilons, as specs and results name it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::attack::Attack;
use crate::attacks::{ENTRIES, Use};
use crate::epsilon::{EpsilonRole, check_epsilon, check_radius};
use crate::read::{self, Found};
use crate::settings::Settings;
use crate::{Error, Result};

/// A robustness curve: an attack with its settings at several epsilons. A spec says `bim:
/// {epsilons: [0, 0.03]}`. Epsilon 0 is the clean image.
///
/// ```
/// use robustseg_attacks::{CurveConfig, Sea};
///
/// let curve = CurveConfig::new(Sea { steps: 30, ..Sea::default() }, vec![0.0, 0.01, 0.03]);
/// assert_eq!(curve.attack().candidates().names().len(), 3);
/// curve.validate()?;
/// # Ok::<(), robustseg_attacks::Error>(())
/// ```
#[derive(Clone)]
pub struct CurveConfig {
    attack: Arc<dyn Attack>,
    epsilons: Vec<f64>,
}

impl CurveConfig {
    /// `attack` at `epsilons`.
    pub fn new(attack: impl Attack + 'static, epsilons: Vec<f64>) -> Self {
        Self::of(Arc::new(attack), epsilons)
    }

    /// `attack` at `epsilons`, for an attack behind its interface.
    pub fn of(attack: Arc<dyn Attack>, epsilons: Vec<f64>) -> Self {
        Self { attack, epsilons }
    }

    /// A curve of every registered attack, with its default settings and epsilons.
    pub fn all() -> Vec<Self> {
        ENTRIES
            .iter()
            .map(|entry| Self { attack: entry.default(Use::Curve), epsilons: (entry.epsilons)() })
            .collect()
    }

    /// The attack.
    pub fn attack(&self) -> &dyn Attack {
        self.attack.as_ref()
    }

    /// The epsilons, in the order of the results.
    pub fn epsilons(&self) -> &[f64] {
        &self.epsilons
    }

    /// The attack's name.
    pub fn name(&self) -> &'static str {
        self.attack.name()
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first such setting. The setting of an epsilon is
    /// `epsilons.INDEX`.
    pub fn validate(&self) -> Result<()> {
        if self.epsilons.is_empty() {
            return Err(Error::NoEpsilon);
        }
        self.attack.validate()?;
        for (index, &epsilon) in self.epsilons.iter().enumerate() {
            let checked = match self.attack.epsilon_role() {
                EpsilonRole::Limit => check_radius(epsilon),
                role => check_epsilon(role, epsilon),
            };
            checked.map_err(|error| match error {
                Error::Setting { value, reason, .. } => {
                    Error::Setting { setting: format!("epsilons.{index}").into(), value, reason }
                }
                other => other,
            })?;
            self.attack.check_epsilon(epsilon)?;
        }
        Ok(())
    }

    /// The fields as specs write them.
    fn fields(&self) -> Settings {
        let mut fields = self.attack.settings();
        fields.set("epsilons", self.epsilons.clone());
        fields
    }
}

impl Serialize for CurveConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize_under(self.name(), serializer)
    }
}

impl<'de> Deserialize<'de> for CurveConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Found { index, attack, epsilon } = read::attack(deserializer, Use::Curve, |_| "epsilons")?;
        let epsilons: fn() -> Vec<f64> = match attack.epsilon_role() {
            EpsilonRole::L2Radius => || vec![0.0, 0.5, 1.0, 1.5, 2.0],
            _ => ENTRIES[index].epsilons,
        };
        Ok(Self { epsilons: epsilon.unwrap_or_else(epsilons), attack })
    }
}

impl PartialEq for CurveConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.fields() == other.fields()
    }
}

impl fmt::Debug for CurveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", json!({ self.name(): self.fields() }))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CurveConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CurveConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        crate::schema::curve(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bim, Fgsm};
    use serde_json::Value;

    #[test]
    fn every_curve_reads_as_it_is_written() -> Result<()> {
        for curve in CurveConfig::all() {
            curve.validate()?;
            let written = serde_json::to_string(&curve).expect("plain data");
            assert_eq!(serde_json::from_str::<CurveConfig>(&written).expect(&written), curve);
            let short = serde_json::from_value::<CurveConfig>(json!({ curve.name(): {} }));
            assert_eq!(short.expect("all settings have defaults"), curve);
        }
        Ok(())
    }

    #[test]
    fn curves_have_defaults_of_their_own_and_name_the_epsilon_that_is_wrong() {
        let read = |value: Value| serde_json::from_value::<CurveConfig>(value).expect("a curve");
        let bim = read(json!({"bim": {"epsilons": [0, 0.1], "steps": 2}}));
        assert_eq!(bim, CurveConfig::new(Bim { alpha: 0.004, steps: 2 }, vec![0.0, 0.1]));
        let message =
            |epsilons: Vec<f64>| CurveConfig::new(Fgsm {}, epsilons).validate().unwrap_err().to_string();
        assert!(message(vec![0.0, 8.0]).starts_with("epsilons.1 = 8: "));
        assert!(message(Vec::new()).contains("at least one"));
    }
}
