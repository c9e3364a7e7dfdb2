//! The page of all keys of a spec, from its JSON schema.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::Spec;

const HEAD: &str = "\
# Every key of a spec

`robustseg schema --markdown` writes this page from the types that read specs. `robustseg check SPEC` prints a spec with every
default filled in. Numbers may be fractions, as in `8/255`.
";

impl Spec {
    /// The page in Markdown: a table for each map of a spec, and one for each choice.
    ///
    /// # Errors
    /// Those of [`Spec::schema`].
    pub fn page() -> anyhow::Result<String> {
        let schema: Value = serde_json::from_str(&Self::schema()?)?;
        let mut writer = Writer { schema: &schema, text: HEAD.into(), waiting: VecDeque::new() };
        writer.map("", &schema);
        while let Some((path, found)) = writer.waiting.pop_front() {
            writer.section(&path, found);
        }
        Ok(writer.text)
    }
}

struct Writer<'a> {
    schema: &'a Value,
    text: String,
    /// Paths with sections to come.
    waiting: VecDeque<(String, &'a Value)>,
}

impl<'a> Writer<'a> {
    fn section(&mut self, path: &str, found: &'a Value) {
        self.text += &format!("\n## `{path}`\n\n{}\n", description(found));
        if found.get("properties").is_some() {
            self.map(path, found);
        } else {
            self.choices(path, found);
        }
    }

    /// The keys of a map, with those of their maps in sections to come.
    fn map(&mut self, path: &str, found: &'a Value) {
        self.text += "\n| key | value | default | meaning |\n|---|---|---|---|\n";
        for (name, property) in found["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let (inner, target) = (self.resolved(property), self.element(property));
            if has_settings(target) || self.alternatives(target).into_iter().any(has_settings) {
                self.waiting.push_back((below.clone(), target));
            }
            let known = property.get("default").filter(|value| !value.is_object() && !value.is_array());
            let default = known.map_or(String::new(), |value| format!("`{value}`"));
            let meaning = [property, inner].map(description).into_iter().find(|text| !text.is_empty());
            let (kind, meaning) = (self.kind(property), meaning.unwrap_or_default());
            self.text += &format!("| `{below}` | {kind} | {default} | {meaning} |\n");
        }
    }

    /// The names to choose from, and the settings of each.
    fn choices(&mut self, path: &str, found: &'a Value) {
        self.text += "\n| choice | its settings | meaning |\n|---|---|---|\n";
        for variant in self.alternatives(found) {
            if let Some(name) = variant["const"].as_str() {
                self.text += &format!("| `{name}` | | {} |\n", description(variant));
            }
            for name in variant["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.text += &format!("| `{name}` | | {} |\n", description(variant));
            }
            for (name, settings) in variant["properties"].as_object().into_iter().flatten() {
                let settings = self.resolved(settings);
                let meaning = [variant, settings].map(description).into_iter().find(|text| !text.is_empty());
                let keys = settings["properties"].as_object();
                let keys = keys.map_or(self.kind(settings), |keys| self.listed(keys));
                self.text += &format!("| `{path}.{name}` | {keys} | {} |\n", meaning.unwrap_or_default());
            }
        }
    }

    /// Settings in one cell, each with its default and meaning.
    fn listed(&self, keys: &Map<String, Value>) -> String {
        let key = |(name, property): (&String, &Value)| {
            let default = property.get("default").map_or(String::new(), |value| format!(" = {value}"));
            let meaning = [property, self.resolved(property)]
                .map(description)
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default();
            format!("`{name}{default}`: {meaning}")
        };
        keys.iter().map(key).collect::<Vec<_>>().join("<br>")
    }

    /// What a value can be.
    fn kind(&self, property: &Value) -> String {
        let found = self.resolved(property);
        if let Some(items) = found.get("items") {
            return format!("list of {}", self.kind(items));
        }
        let all = self.alternatives(found);
        if !all.is_empty() {
            let names: Vec<String> =
                all.iter().filter_map(|one| one["const"].as_str()).map(|name| format!("`{name}`")).collect();
            let choice = all.into_iter().any(has_settings) || names.is_empty();
            return if choice { "a choice".into() } else { names.join(", ") };
        }
        if let Some(names) = found["enum"].as_array() {
            return names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        }
        let types = match &found["type"] {
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one.as_str()],
            _ => Vec::new(),
        };
        // A number may be a text with a fraction.
        let number = types.contains(&"number");
        let types = types.into_iter().filter(|kind| *kind != "null" && !(number && *kind == "string"));
        let words = types.map(|kind| match kind {
            "object" => "map",
            "string" => "text",
            "boolean" => "true or false",
            other => other,
        });
        words.collect::<Vec<_>>().join(" or ")
    }

    /// The definition behind references and optional values.
    fn resolved<'b>(&self, value: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        if let Some(name) = value["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            return self.resolved(&self.schema["$defs"][name]);
        }
        match value["anyOf"].as_array().map(Vec::as_slice) {
            Some([one, other]) if other["type"] == "null" => self.resolved(one),
            _ => value,
        }
    }

    /// The alternatives of a choice, and of the choices among them. Empty for anything else.
    fn alternatives<'b>(&self, found: &'b Value) -> Vec<&'b Value>
    where
        'a: 'b,
    {
        let all = found["oneOf"].as_array().or_else(|| found["anyOf"].as_array());
        let inner = |one: &'b Value| {
            let one = self.resolved(one);
            let inner = self.alternatives(one);
            if inner.is_empty() { vec![one] } else { inner }
        };
        all.into_iter().flatten().flat_map(inner).collect()
    }

    /// What a property holds, or each element of a list.
    fn element(&self, property: &'a Value) -> &'a Value {
        let found = self.resolved(property);
        found.get("items").map_or(found, |items| self.resolved(items))
    }
}

fn has_settings(variant: &Value) -> bool {
    variant.get("properties").is_some()
}

/// The first paragraph of the description in one line for a table, with links to code as their
/// texts.
fn description(value: &Value) -> String {
    let text = value["description"].as_str().unwrap_or_default();
    let text = text.split("\n\n").next().unwrap_or_default().replace(['\n', '\r'], " ").replace('|', "\\|");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, (name, after))) =
        rest.split_once('[').and_then(|(before, after)| Some((before, after.split_once(']')?)))
    {
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        match target {
            Some((_, after)) => (plain, rest) = (plain + before + name, after),
            None if name.starts_with('`') => (plain, rest) = (plain + before + name, after),
            None => (plain, rest) = (plain + before + "[" + name + "]", after),
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_choice_of_the_schema_is_on_the_page() {
        let page = Spec::page().unwrap();
        for part in [
            "| `training.epochs` | integer |  | Passes over the training split. |",
            "| `evaluation.weights` | `last`, `best`",
            "## `training.method`",
            "| `training.method.fgsm` | `epsilon = 0.03`: Radius",
            "## `evaluation.curves`",
            "| `training.augmentation.crop` |",
            "## `model`",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains("crate::"), "{page}");
        let schema: Value = serde_json::from_str(&Spec::schema().unwrap()).unwrap();
        for definition in schema["$defs"].as_object().unwrap().values() {
            for name in definition["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
                assert!(page.contains(name.as_str()), "{name} is missing");
            }
        }
    }

    #[test]
    fn links_to_code_become_names() {
        let value = serde_json::json!({"description": "As [`A::b`](crate::A::b) and [`c`] say,\nx | y in [0, 1], [d](E).\n\nMore."});
        assert_eq!(description(&value), "As `A::b` and `c` say, x \\| y in [0, 1], d.");
    }
}
