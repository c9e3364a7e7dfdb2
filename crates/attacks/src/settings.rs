//! An attack's settings by name, as results store them and titles show them.

use std::fmt;

use robustseg_words::counted;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Norm;

/// Settings by name, in the order in which the attack declares them.
///
/// ```
/// use robustseg_attacks::{Bim, Settings};
///
/// let settings = Settings::of(&Bim { alpha: 0.01, steps: 3 });
/// assert_eq!(settings.to_string(), "alpha 0.01, 3 steps");
/// assert_eq!(settings.number("steps"), Some(3.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// The fields of `attack`. Settings are plain data: any value that is not a map has no fields.
    pub fn of(attack: &impl Serialize) -> Self {
        match serde_json::to_value(attack) {
            Ok(Value::Object(fields)) => Self(fields),
            _ => Self::default(),
        }
    }

    /// The value of the setting `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value of the setting `name`, if it is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Value::as_f64)
    }

    /// The norm in which epsilon is measured.
    pub fn norm(&self) -> Norm {
        self.get("norm").and_then(|norm| Norm::deserialize(norm).ok()).unwrap_or_default()
    }

    /// Sets `name` to `value`, in its present position or after all others.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All settings with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are no settings.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes `{name: settings}`, as specs name an attack.
    pub(crate) fn serialize_under<S: Serializer>(
        &self,
        name: &str,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(name, self)?;
        map.end()
    }

    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

impl fmt::Display for Settings {
    /// For titles: `alpha 0.004, 10 steps, random start`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.iter().filter_map(|(name, value)| {
            let words = name.replace('_', " ");
            Some(match (name, value) {
                (_, Value::Null | Value::Bool(false)) => return None,
                ("norm", Value::String(norm)) if norm == "linf" => return None,
                ("norm", Value::String(norm)) => format!("{norm} ball"),
                ("steps", Value::Number(count)) => counted(count.as_u64()?, "step"),
                ("restarts", Value::Number(count)) => counted(count.as_u64()?, "start"),
                ("start", Value::String(place)) if place == "image" => "from the image".into(),
                ("start", Value::String(place)) => format!("{place} start"),
                (_, Value::Bool(true)) => words,
                (_, Value::String(choice)) => format!("{words} {choice}"),
                (_, Value::Number(number)) => match number.as_f64() {
                    Some(number) => format!("{words} {}", readable(number)),
                    None => format!("{words} {number}"),
                },
                (_, other) => format!("{words} {other}"),
            })
        });
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

/// `number` as people write it: a multiple of 1/255 as such if its decimals would not end.
fn readable(number: f64) -> String {
    let (text, levels) = (number.to_string(), (255.0 * number).round());
    let is_level = levels > 0.0 && levels < 255.0 && (255.0 * number - levels).abs() < 1e-6;
    if text.len() > 7 && is_level { format!("{levels}/255") } else { text }
}

/// Gives every type with serialisable fields its settings by name.
pub trait Described {
    /// The settings by name.
    fn settings(&self) -> Settings;
}

impl<T: Serialize> Described for T {
    fn settings(&self) -> Settings {
        Settings::of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn titles_read_as_people_write() {
        let title = |settings: Value| serde_json::from_value::<Settings>(settings).unwrap().to_string();
        assert_eq!(title(json!({})), "");
        let pgd = json!({"alpha": 0.004, "steps": 10, "restarts": 5, "decay": 1.0});
        assert_eq!(title(pgd), "alpha 0.004, 10 steps, 5 starts, decay 1");
        assert_eq!(title(json!({"alpha": 1.0 / 255.0})), "alpha 1/255");
        assert_eq!(title(json!({"alpha": 0.012_345_6})), "alpha 0.0123456");
        assert_eq!(title(json!({"steps": 1, "start": "random"})), "1 step, random start");
        assert_eq!(title(json!({"steps": 1, "norm": "linf"})), "1 step");
        assert_eq!(title(json!({"steps": 1, "norm": "l2"})), "1 step, l2 ball");
        assert_eq!(title(json!({"start": "image", "random_start": true})), "from the image, random start");
        let sea = json!({"steps": 30, "dataset_weights": true, "cross_entropy": false});
        assert_eq!(title(sea), "30 steps, dataset weights");
        assert_eq!(
            title(json!({"random_start": false, "max": null, "negative_gain": "abs"})),
            "negative gain abs"
        );
    }
}
