//! One layer of a spec over the layers below it.
//!
//! Maps are merged key by key. Anything else, lists included, replaces what is below. A choice such
//! as `method: {bim: {...}}` is a map of one key: [`typed`](super::typed) takes the key that the
//! uppermost layer wrote, with the settings that lower layers gave to the same choice. The networks
//! of `model` and the losses of `training.loss` are those that the uppermost layer names.

use std::fmt;

use robustseg_models::Architecture;
use serde::Serialize;

use super::document::{Entry, Node, Value};

/// What a layer did to one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The keys from the root to the value, with dots.
    pub key: String,
    /// The value in YAML, or `None` if the layer took it away.
    pub value: Option<String>,
    /// The former value in YAML, if there was one.
    pub was: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, was } = self;
        match (value, was) {
            (Some(value), Some(was)) => write!(f, "{key}: {value} (was {was})"),
            (Some(value), None) => write!(f, "{key}: {value}"),
            (None, Some(was)) => write!(f, "{key}: taken away (was {was})"),
            (None, None) => write!(f, "{key}: taken away"),
        }
    }
}

impl Node {
    /// Merges `upper` into this tree as layer number `layer`, and notes every change.
    pub(super) fn merge(&mut self, upper: Self, layer: usize, changes: &mut Vec<Change>) {
        self.merge_at(&mut Vec::new(), upper, layer, changes);
    }

    fn merge_at(&mut self, path: &mut Vec<String>, upper: Self, layer: usize, changes: &mut Vec<Change>) {
        let Self { value, place } = upper;
        match (&mut self.value, value) {
            (Value::Map(below), Value::Map(above)) => {
                leave_others(path, below, &above, changes);
                for entry in above {
                    path.push(entry.key.clone());
                    below.take(entry, path, layer, changes);
                    path.pop();
                }
                self.place = place;
            }
            (below, above) => {
                let was = std::mem::replace(below, above);
                self.place = place;
                self.mark(layer);
                self.note(path, Some(&was), changes);
            }
        }
    }

    /// Gives all keys below this node the number `layer`.
    fn mark(&mut self, layer: usize) {
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.mark(layer)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.layer = layer;
                    entry.node.mark(layer);
                }
            }
            _ => {}
        }
    }

    /// Notes this value, which replaced `was`: maps by their single values.
    pub(super) fn note(&self, path: &mut Vec<String>, was: Option<&Value>, changes: &mut Vec<Change>) {
        match &self.value {
            Value::Map(entries) if !entries.is_empty() && was.is_none() => {
                for entry in entries {
                    path.push(entry.key.clone());
                    entry.node.note(path, None, changes);
                    path.pop();
                }
            }
            value => {
                let (value, was) = (value.to_string(), was.map(ToString::to_string));
                if was.as_ref() != Some(&value) {
                    changes.push(Change { key: path.join("."), value: Some(value), was });
                }
            }
        }
    }
}

/// Merging into the entries of a map.
trait Take {
    fn take(&mut self, entry: Entry, path: &mut Vec<String>, layer: usize, changes: &mut Vec<Change>);
}

impl Take for Vec<Entry> {
    fn take(&mut self, mut entry: Entry, path: &mut Vec<String>, layer: usize, changes: &mut Vec<Change>) {
        if let Some(below) = self.iter_mut().find(|below| below.key == entry.key) {
            (below.layer, below.place) = (layer, entry.place);
            below.node.merge_at(path, entry.node, layer, changes);
        } else {
            entry.layer = layer;
            entry.node.mark(layer);
            entry.node.note(path, None, changes);
            self.push(entry);
        }
    }
}

/// Takes the settings of other networks or losses at `path` out of `below`, if the layer `above`
/// names any.
fn leave_others(path: &[String], below: &mut Vec<Entry>, above: &[Entry], changes: &mut Vec<Change>) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let name: fn(&str) -> Option<&str> = match path[..] {
        ["model"] => network,
        ["training", "loss"] => |key| Some(key),
        _ => return,
    };
    let named: Vec<&str> = above.iter().filter_map(|entry| name(&entry.key)).collect();
    if named.is_empty() {
        return;
    }
    below.retain(|entry| {
        let stays = name(&entry.key).is_none_or(|name| named.contains(&name));
        if !stays {
            let (key, was) =
                (format!("{}.{}", path.join("."), entry.key), Some(entry.node.value.to_string()));
            changes.push(Change { key, value: None, was });
        }
        stays
    });
}

/// The network whose settings are under this key of `model`. `PSPNet` may also go without its name.
fn network(key: &str) -> Option<&str> {
    match key {
        "layers" | "width" => Some(""),
        _ => Architecture::NAMES.contains(&key).then_some(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(layers: &[&str]) -> (Node, Vec<Change>) {
        let mut node = Node::parse(layers[0]).unwrap();
        let mut changes = Vec::new();
        for (number, layer) in layers.iter().enumerate().skip(1) {
            changes.clear();
            node.merge(Node::parse(layer).unwrap(), number, &mut changes);
        }
        (node, changes)
    }

    #[test]
    fn maps_merge_and_everything_else_replaces() {
        let (node, changes) =
            merged(&["a: {b: 1, c: 2}\nl: [1, 2]\nt: x\n", "a: {c: 3, d: {e: 4}}\nl: [5]\nt: {u: 6}\n"]);
        assert_eq!(node.value.to_string(), "{a: {b: 1, c: 3, d: {e: 4}}, l: [5], t: {u: 6}}");
        let told: Vec<_> = changes
            .iter()
            .map(|change| {
                (change.key.as_str(), change.value.as_deref().unwrap_or("-"), change.was.as_deref())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a.c", "3", Some("2")),
                ("a.d.e", "4", None),
                ("l", "[5]", Some("[1, 2]")),
                ("t", "{u: 6}", Some("x")),
            ]
        );
        assert!(merged(&["a: {b: 1}", "a: {b: 1}"]).1.is_empty(), "an equal value changes nothing");
    }

    #[test]
    fn another_network_replaces_the_one_below() {
        let (node, changes) =
            merged(&["model: {layers: [1, 1, 1, 1], width: 8, upsampling: nearest}", "model: {fcn: {}}"]);
        assert_eq!(node.value.to_string(), "{model: {upsampling: nearest, fcn: {}}}");
        assert_eq!(
            changes.iter().map(|change| change.key.as_str()).collect::<Vec<_>>(),
            ["model.layers", "model.width", "model.fcn"]
        );
        let (node, _) = merged(&["model: {fcn: {}}", "model: {upsampling: nearest}"]);
        assert_eq!(node.value.to_string(), "{model: {fcn: {}, upsampling: nearest}}");
    }

    #[test]
    fn other_losses_replace_those_below_and_the_same_ones_keep_their_settings() {
        let of = |loss: &str| format!("training: {{loss: {loss}}}");
        let below = of("{cross_entropy: {weight: 2}, dice: {smooth: 3}}");
        for (above, loss) in [
            ("{ohem: {}}", "{ohem: {}}"),
            ("{dice: {weight: 0.5}}", "{dice: {smooth: 3, weight: 0.5}}"),
            ("{dice: {}, ohem: {}}", "{dice: {smooth: 3}, ohem: {}}"),
            ("ohem", "ohem"),
        ] {
            let (node, changes) = merged(&[&below, &of(above)]);
            assert_eq!(node.value.to_string(), format!("{{{}}}", of(loss)));
            assert!(changes.iter().any(|change| change.key.starts_with("training.loss")), "{changes:?}");
        }
    }
}
