//! The identity of a run: everything that determines its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The maximum number of differences in a message.
const MOST: usize = 6;

/// Everything that determines the final weights of a training, by key. A saved state belongs to the
/// identity under which it was saved, and a training with another identity must not resume from it.
/// The caller defines what a key means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Sets `key` to `value`. An object sets `key.NAME` for each of its fields, a list `key.INDEX`.
    pub fn set(&mut self, key: &str, value: &Value) {
        let mut nested = |fields: Vec<(String, &Value)>| {
            for (name, value) in fields {
                self.set(&format!("{key}.{name}"), value);
            }
        };
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                nested(fields.iter().map(|(name, value)| (name.clone(), value)).collect());
            }
            Value::Array(values) if !values.is_empty() => {
                nested(values.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect());
            }
            Value::String(text) => self.put(key, text.clone()),
            other => self.put(key, other.to_string()),
        }
    }

    fn put(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The identity without `key`.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// The part of the identity whose keys begin with `prefix`.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        let keys = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Self(keys.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys whose values in `now` differ from those in `self`, in alphabetical order.
    pub fn changed<'a>(&'a self, now: &'a Self) -> Vec<&'a str> {
        let keys: std::collections::BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let differs = |key: &&String| self.0.get(*key) != now.0.get(*key);
        keys.into_iter().filter(differs).map(String::as_str).collect()
    }

    /// Each difference between `self` and `now` in words: `training.learning_rate: 0.02 then, 0.01
    /// now`.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let value = |identity: &Self, key| identity.get(key).map_or("not set".to_owned(), shortened);
        let told = |key| format!("{key}: {} then, {} now", value(self, key), value(now, key));
        self.changed(now).into_iter().map(told).collect()
    }

    /// The differences between `self` and `now` as a text of limited length.
    pub fn differences(&self, now: &Self) -> String {
        let changes = self.changes(now);
        let told = changes[..changes.len().min(MOST)].join("; ");
        match changes.len().saturating_sub(MOST) {
            0 => told,
            more => format!("{told}; and {more} more"),
        }
    }

    /// A text that is the same for two identities if and only if they are equal.
    pub fn canonical(&self) -> String {
        // Only strings, in the order of their keys.
        serde_json::to_string(&self.0).expect("a map of strings is plain data")
    }
}

/// Shortens a hash to the digits that distinguish it. Any other value stays unchanged.
fn shortened(value: &str) -> String {
    let is_hash = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { format!("{}...", &value[..12]) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(value: &Value) -> Identity {
        let mut identity = Identity::default();
        identity.set("a", value);
        identity
    }

    #[test]
    fn differences_name_each_key_with_its_old_and_its_new_value() {
        let then = identity(&json!({"x": 0.02, "same": [1, 2], "gone": "basic", "hash": "a".repeat(64)}));
        let now = identity(&json!({"x": 0.01, "same": [1, 2], "new": {}, "hash": "b".repeat(64)}));
        assert_eq!(then.changed(&now), ["a.gone", "a.hash", "a.new", "a.x"]);
        let expected = "a.gone: basic then, not set now; a.hash: aaaaaaaaaaaa... then, bbbbbbbbbbbb... now; \
                        a.new: not set then, {} now; a.x: 0.02 then, 0.01 now";
        assert_eq!(then.differences(&now), expected);
        assert_eq!(then.differences(&then), "");
        let many = identity(&json!([1, 2, 3, 4, 5, 6, 7, 8]));
        assert!(Identity::default().differences(&many).ends_with("; and 2 more"));
    }

    #[test]
    fn an_identity_survives_writing_and_reading_to_the_last_digit() {
        let value = json!({"x": 0.1 + 0.2, "y": f64::from(0.485_f32), "z": [1e-300, 5e-324]});
        let identity = identity(&value);
        assert_eq!(serde_json::from_str::<Identity>(&identity.canonical()).unwrap(), identity);
    }
}
