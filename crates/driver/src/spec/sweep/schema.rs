//! The JSON schema of sweeps, for editors.

use serde_json::{Value, json};

use super::Sweep;

/// The schema of specs, next to that of sweeps.
const SPEC: &str = "spec.schema.json";

impl Sweep {
    /// The JSON schema of a sweep. It refers to that of specs, `spec.schema.json` in the same folder.
    pub fn schema() -> Value {
        let path = json!({ "type": "string", "minLength": 1 });
        let part = json!({ "$ref": SPEC });
        let value = json!({ "anyOf": [part, { "type": "null" }] });
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Sweep",
            "description": "A grid of runs, as run by `robustseg sweep`.",
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "axes"],
            "properties": {
                "name": {
                    "description": "The sweep's name. It is also the name of its folder, and the beginning of its runs' names.",
                    "type": "string",
                },
                "base": {
                    "description": "The spec that all runs build on, or a list of specs, each over those before it. A relative path \
                                    starts at the folder of this file.",
                    "anyOf": [path, { "type": "array", "items": path }],
                },
                "set": {
                    "description": "Keys of a spec, over the bases of all runs.",
                    "$ref": SPEC,
                },
                "axes": {
                    "description": "The axes of the grid by name. The last one varies fastest. A list has a key of a spec as its name, \
                                    such as `training.epochs`, and the values of that key. A map has the values' own names: each \
                                    value is a part of a spec, which may have a `base`.",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {
                        "anyOf": [
                            { "type": "array", "minItems": 1 },
                            { "type": "object", "minProperties": 1, "additionalProperties": value },
                        ],
                    },
                },
                "exclude": {
                    "description": "Combinations to leave out: for each the value, or a list of values, of some axes.",
                    "type": "array",
                    "items": { "type": "object", "minProperties": 1 },
                },
            },
        })
    }
}
