//! The axes of a sweep, and the names of their values.
//!
//! An axis that is a list has a key of a spec as its name and the values of that key as its values.
//! An axis that is a map has a name of its own, and names for its values: each is a part of a spec.

use std::path::Path;

use super::super::document::{Entry, Node, Value};
use super::super::fault::{Fault, Place, SpecError};
use super::super::layers::bases_of;
use super::{AXES, require_few, trees};

/// A named list of values.
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) values: Vec<AxisValue>,
}

/// What a value of an axis is called and what it changes in the spec.
pub(super) struct AxisValue {
    pub(super) name: String,
    /// Another way to write the name: the value itself.
    pub(super) text: String,
    pub(super) bases: Vec<Node>,
    pub(super) layer: Option<Node>,
}

/// Reads the axes in `node`, a part of the file at `path`.
pub(super) fn read(node: Node, path: &Path) -> Result<Vec<Axis>, SpecError> {
    let content = |fault: Fault| SpecError::Content { path: path.to_owned(), fault };
    let Node { value, place } = node;
    let Value::Map(entries) = value else {
        let what = "expected axes by name, for example {seed: [0, 1, 2]}";
        return Err(content(Fault::new(what).under(AXES, &place)));
    };
    let mut axes = Vec::new();
    for Entry { key, place, node, .. } in entries {
        let under = |fault: Fault| content(fault.under(&key, &place).under(AXES, &place));
        let values = match node.value {
            Value::List(nodes) => {
                let keys: Vec<&str> = key.split('.').collect();
                if keys.iter().any(|key| key.is_empty()) {
                    return Err(under(Fault::new("is not a key of a spec")));
                }
                nodes
                    .into_iter()
                    .map(|node| of_key(&keys, node))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(under)?
            }
            Value::Map(entries) => {
                entries.into_iter().map(|entry| of_part(&key, entry, path)).collect::<Result<Vec<_>, _>>()?
            }
            _ => return Err(under(Fault::new("expected a list of values, or values by name"))),
        };
        let fault = match first_twice(&values) {
            _ if values.is_empty() => Some(Fault::new("has no values")),
            Some(name) => Some(Fault::new(format!("two values are named {name}; give all of them names"))),
            None => None,
        };
        if let Some(fault) = fault {
            return Err(under(fault));
        }
        axes.push(Axis { name: key, place, values });
    }
    if axes.is_empty() {
        return Err(content(Fault::new("a sweep needs at least one axis").under(AXES, &place)));
    }
    require_few(&axes).map_err(content)?;
    Ok(axes)
}

/// The value `node` of the key at `keys`.
fn of_key(keys: &[&str], node: Node) -> Result<AxisValue, Fault> {
    let place = node.place.clone();
    let text = node.value.to_string();
    let key = keys.last().copied().unwrap_or_default();
    let name = match &node.value {
        Value::Text(text) if crate::number::parse(text).is_err() => folder_name(text),
        Value::Map(entries) if entries.len() == 1 => folder_name(&entries[0].key),
        Value::List(_) | Value::Map(_) => {
            return Err(Fault::new("give this value a name: {NAME: {...}} in place of a list").at(&place));
        }
        Value::Float(value) if *value != 0.0 && !(1e-4..1e6).contains(&value.abs()) => {
            format!("{key}-{value:e}")
        }
        _ => format!("{key}-{}", folder_name(&text)),
    };
    let layer = keys.iter().rev().fold(node, |node, key| {
        let entry = Entry { key: (*key).to_owned(), place: place.clone(), node, layer: 0 };
        Node { value: Value::Map(vec![entry]), place: place.clone() }
    });
    Ok(AxisValue { name, text, bases: Vec::new(), layer: Some(layer) })
}

/// The value of the axis named by `entry`: a part of a spec in the file at `path`.
fn of_part(axis: &str, entry: Entry, path: &Path) -> Result<AxisValue, SpecError> {
    let Entry { key, place, mut node, .. } = entry;
    let refuse = |fault: Fault| SpecError::Content {
        path: path.to_owned(),
        fault: fault.under(&key, &place).under(axis, &place).under(AXES, &place),
    };
    if folder_name(&key) != key {
        let what = "cannot name a folder; take letters, digits, - _ . +, and no dot in front";
        return Err(refuse(Fault::new(what)));
    }
    let bases = trees(bases_of(path, &mut node)?);
    let layer = if let Value::Null = node.value { None } else { Some(node) };
    if let Some(layer) = &layer {
        layer.require_layer().map_err(refuse)?;
    }
    Ok(AxisValue { text: key.clone(), name: key, bases, layer })
}

/// `text` with `_` in place of characters that a folder's name should not have.
fn folder_name(text: &str) -> String {
    let text = text.trim_start_matches('.');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    let name: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if name.is_empty() { "_".into() } else { name }
}

/// A name that two of `values` have.
fn first_twice(values: &[AxisValue]) -> Option<&str> {
    let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(*name)).map(|(_, name)| *name)
}
