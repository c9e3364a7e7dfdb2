//! JSON schemas of attacks and curves, for editors.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::attacks::{ENTRIES, Entry, Use};
use crate::epsilon::EpsilonRole;

/// An attack with its settings and epsilon.
pub(crate) fn attack(generator: &mut SchemaGenerator) -> Schema {
    let choices: Vec<Value> = ENTRIES.iter().map(|entry| choice_of_attack(entry, generator)).collect();
    one_of("An attack with its settings.", &choices)
}

/// A robustness curve.
pub(crate) fn curve(generator: &mut SchemaGenerator) -> Schema {
    let choice = |entry: &Entry| {
        let epsilons = json!({
            "description": "The curve's epsilons, each in `[0, 1]`; 0 is the clean image.",
            "type": "array",
            "items": { "type": "number", "format": "double" },
            "default": (entry.epsilons)(),
        });
        choice(entry, Use::Curve, "epsilons", &epsilons, generator)
    };
    let choices: Vec<Value> = ENTRIES.iter().map(choice).collect();
    one_of("A robustness curve: one attack at several epsilons.", &choices)
}

/// One of `choices`.
fn one_of(description: &str, choices: &[Value]) -> Schema {
    json_schema!({ "description": description, "oneOf": choices })
}

/// An attack with its epsilon.
pub(crate) fn choice_of_attack(entry: &Entry, generator: &mut SchemaGenerator) -> Value {
    let role = entry.default(Use::Examples).epsilon_role();
    let epsilon = match role {
        EpsilonRole::Radius | EpsilonRole::L2Radius => json!({
            "description": "Radius of the l-infinity ball, or size of the only step, in `[0, 1]`.",
            "type": "number",
            "format": "double",
            "default": role.default_value(),
        }),
        EpsilonRole::Limit => json!({
            "description": "The largest step or radius, in `[0, 1]`; without it there is no limit.",
            "type": ["number", "null"],
            "format": "double",
            "default": null,
        }),
    };
    choice(entry, Use::Examples, role.key(), &epsilon, generator)
}

/// `{name: {settings, key: epsilon}}`.
fn choice(entry: &Entry, used: Use, key: &str, epsilon: &Value, generator: &mut SchemaGenerator) -> Value {
    let attack = entry.default(used);
    let mut schema = (entry.schema)(generator);
    schema.remove("title");
    let defaults = attack.settings();
    let fields = schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(fields) = fields {
        for (name, field) in fields.iter_mut() {
            if let (Value::Object(field), Some(default)) = (field, defaults.get(name)) {
                field.insert("default".into(), default.clone());
            }
        }
        fields.insert(key.to_owned(), epsilon.clone());
    }
    json!({
        "description": attack.summary(),
        "type": "object",
        "properties": { attack.name(): schema },
        "required": [attack.name()],
        "additionalProperties": false,
    })
}
