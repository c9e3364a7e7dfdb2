//! The settings in which the specs of runs differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::run::ComparedRun;
use crate::draw::table::{Cell, Table};

/// A row for each setting that not all of `runs` share, by its path in a spec, and a column for each
/// run. Names and devices do not count. Without a difference the table has no rows.
pub(super) fn table(runs: &[&ComparedRun]) -> Table {
    let settings: Vec<BTreeMap<String, String>> = runs.iter().map(|run| settings(run)).collect();
    let paths: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let differs = |path: &&String| settings.iter().any(|run| run.get(*path) != settings[0].get(*path));
    let columns = std::iter::once("setting".to_owned()).chain(runs.iter().map(|run| run.label.clone()));
    let mut table = Table::new("Settings in which the specs differ", columns);
    table.rows.extend(paths.into_iter().filter(differs).map(|path| {
        let cell =
            |run: &BTreeMap<String, String>| run.get(path).cloned().map_or(Cell::text("-"), Cell::Text);
        std::iter::once(Cell::text(path)).chain(settings.iter().map(cell)).collect()
    }));
    table
}

/// All settings of a run's spec by their paths, without those that are null. Empty if the spec is
/// unknown.
fn settings(run: &ComparedRun) -> BTreeMap<String, String> {
    let spec = run.spec.as_ref().and_then(|spec| serde_json::to_value(spec).ok());
    let mut found = BTreeMap::new();
    collect("", &spec.unwrap_or_default(), &mut found);
    found.retain(|path, _| !matches!(path.as_str(), "name" | "device" | ""));
    found
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => drop(found.insert(path.to_owned(), text.clone())),
        other => drop(found.insert(path.to_owned(), other.to_string())),
    }
}
