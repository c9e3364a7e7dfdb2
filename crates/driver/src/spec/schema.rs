//! The JSON schema of specs, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use super::Spec;
use super::layers::BASE;
use crate::number;

impl Spec {
    /// The JSON schema of a spec, for editors. A spec on a base may leave out any key but its name,
    /// and a base, which has no name, any key at all.
    pub fn schema() -> anyhow::Result<String> {
        let settings = SchemaSettings::default().with_transform(RecursiveTransform(allow_fractions));
        let mut schema = settings.into_generator().into_root_schema_for::<Self>();
        let complete = take_required(&mut schema);
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let path = json!({ "type": "string", "minLength": 1 });
            let base = json!({
                "description": "The spec that this one builds on, or a list of specs, each over those before it. A relative \
                                path starts at the folder of this file.",
                "anyOf": [path, { "type": "array", "items": path }],
            });
            properties.insert(BASE.into(), base);
        }
        schema.insert("if".into(), json!({ "required": ["name"], "not": { "required": [BASE] } }));
        schema.insert("then".into(), complete);
        Ok(serde_json::to_string_pretty(&schema)? + "\n")
    }
}

/// Takes the required keys of a spec, and of the maps directly in it, out of `schema`.
fn take_required(schema: &mut Schema) -> Value {
    let mut of_maps = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, property) in properties {
        let name = property.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
        let definition = name.and_then(|name| schema.get_mut("$defs")?.get_mut(name)?.as_object_mut());
        if let Some(required) = definition.and_then(|definition| definition.remove("required")) {
            of_maps.insert(key, json!({ "required": required }));
        }
    }
    json!({ "required": schema.remove("required"), "properties": of_maps })
}

/// Allows a fraction wherever a number is allowed.
fn allow_fractions(schema: &mut Schema) {
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    if types.contains(&"number") {
        let types = [&types[..], &["string"]].concat();
        schema.insert("type".into(), types.into());
        schema.insert("pattern".into(), number::FRACTION.into());
    }
}
