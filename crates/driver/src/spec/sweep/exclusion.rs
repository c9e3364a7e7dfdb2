//! The combinations of values that a sweep leaves out.

use robustseg_words::nearest;

use super::super::document::{Node, Value};
use super::super::fault::Fault;
use super::axis::{Axis, AxisValue};

const EXCLUDE: &str = "exclude";

/// The runs that have one of the named values on each named axis.
pub(super) struct Exclusion {
    /// For each named axis its index and the names of values.
    values: Vec<(usize, Vec<String>)>,
}

impl Exclusion {
    /// Whether the run with `values`, one for each axis, is left out.
    pub(super) fn applies(&self, values: &[&AxisValue]) -> bool {
        self.values.iter().all(|(axis, names)| names.iter().any(|name| values[*axis].is_called(name)))
    }
}

impl AxisValue {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.text == name
    }
}

/// Reads the list of exclusions in `node`.
pub(super) fn read(node: &Node, axes: &[Axis]) -> Result<Vec<Exclusion>, Fault> {
    let Value::List(rules) = &node.value else { return Err(wrong(node)) };
    rules.iter().map(|rule| exclusion(rule, axes)).collect()
}

fn exclusion(node: &Node, axes: &[Axis]) -> Result<Exclusion, Fault> {
    let entries = match &node.value {
        Value::Map(entries) if !entries.is_empty() => entries,
        _ => return Err(wrong(node)),
    };
    let mut values = Vec::new();
    for entry in entries {
        let unknown = |what: &str, found: &str, known: &[&str]| {
            Fault::new(format!("unknown {what} `{found}`; {}", nearest(found, known)))
        };
        let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
        let Some(axis) = names.iter().position(|name| *name == entry.key) else {
            return Err(unknown("axis", &entry.key, &names).under(EXCLUDE, &entry.place));
        };
        let nodes = match &entry.node.value {
            Value::List(nodes) => nodes.iter().collect(),
            _ => vec![&entry.node],
        };
        let known: Vec<&str> = axes[axis].values.iter().map(|value| value.name.as_str()).collect();
        let named = nodes.into_iter().map(|node| {
            let name = node.value.to_string();
            let is_known = axes[axis].values.iter().any(|value| value.is_called(&name));
            if is_known { Ok(name) } else { Err(unknown("value", &name, &known).under(EXCLUDE, &node.place)) }
        });
        values.push((axis, named.collect::<Result<_, _>>()?));
    }
    Ok(Exclusion { values })
}

fn wrong(node: &Node) -> Fault {
    let what = "expected a list of values by axis, for example [{method: basic, epsilon: [small, large]}]";
    Fault::new(what).under(EXCLUDE, &node.place)
}
