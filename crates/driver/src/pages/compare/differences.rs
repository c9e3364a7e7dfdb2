//! The settings in which the specs of runs differ.

use std::collections::BTreeSet;

use serde_json::Value;

use super::run::ComparedRun;
use crate::draw::table::{Cell, Table};

/// A row for each of `runs` and a column for each setting that not all share, by its path in a
/// spec. Names and devices do not count. Without a difference the table has no rows.
pub(super) fn table(runs: &[&ComparedRun]) -> Table {
    let settings: Vec<Vec<(String, String)>> = runs.iter().map(|run| settings(run)).collect();
    let paths: BTreeSet<&String> = settings.iter().flatten().map(|(path, _)| path).collect();
    let value = |settings: &[(String, String)], path: &str| {
        settings.iter().find(|(known, _)| known == path).map(|(_, value)| value.clone())
    };
    let differs = |path: &&String| {
        let first = settings.first().and_then(|settings| value(settings, path));
        settings.iter().any(|settings| value(settings, path) != first)
    };
    let paths: Vec<&String> = paths.into_iter().filter(differs).collect();
    let columns = std::iter::once("run".to_owned()).chain(paths.iter().map(|path| (*path).clone()));
    let mut table = Table::new("Settings in which the specs differ", columns);
    if paths.is_empty() {
        return table;
    }
    table.rows.extend(runs.iter().zip(&settings).map(|(run, settings)| {
        let cells = paths.iter().map(|path| value(settings, path).map_or(Cell::text("-"), Cell::Text));
        std::iter::once(Cell::Text(run.label.clone())).chain(cells).collect()
    }));
    table
}

/// All settings of a run's spec by their paths. Empty if the spec is unknown.
fn settings(run: &ComparedRun) -> Vec<(String, String)> {
    let spec = run.spec.as_ref().and_then(|spec| serde_json::to_value(spec).ok());
    let mut found = Vec::new();
    collect("", &spec.unwrap_or_default(), &mut found);
    found.retain(|(path, _)| !matches!(path.as_str(), "name" | "device" | ""));
    found
}

fn collect(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, found);
            }
        }
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        other => found.push((path.to_owned(), other.to_string())),
    }
}
