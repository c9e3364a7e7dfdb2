//! Finds the weights in what a file holds: a dictionary of tensors, alone or under a key.

use std::collections::BTreeMap;

use crate::fault::{Checked, Fault};
use crate::object::{Id, Object, Pickle};
use crate::tensor::TensorInfo;

/// The keys under which training programs save weights, the preferred ones first.
const KEYS: [&str; 7] =
    ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"];

/// How deep dictionaries may lie in each other.
const DEEPEST: usize = 4;

/// Weights by name.
pub(crate) struct StateDict {
    /// The keys that lead to the weights.
    pub(crate) path: Vec<String>,
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    /// Names of tensors of types that are not known here.
    pub(crate) unknown: Vec<String>,
}

/// The weights in `pickle`.
pub(crate) fn find(pickle: &Pickle) -> Checked<StateDict> {
    let (mut at, mut path) = (pickle.root, Vec::new());
    for _ in 0..DEEPEST {
        let items = match pickle.get(at) {
            Object::Dict(items) => items,
            other => return Err(no_weights(other)),
        };
        if items.iter().any(|(_, value)| matches!(pickle.get(*value), Object::Tensor(_))) {
            return Ok(collect(pickle, items, path));
        }
        let Some((key, value)) = below(pickle, items)? else { break };
        path.push(key.to_owned());
        at = value;
    }
    Err(Fault::Format("holds no tensors by name; save the network's state_dict() with torch.save".into()))
}

/// The item of `items` that holds the weights.
fn below<'a>(pickle: &'a Pickle, items: &[(Id, Id)]) -> Checked<Option<(&'a str, Id)>> {
    let dictionaries: Vec<(&str, Id)> = items
        .iter()
        .filter_map(|(key, value)| match (pickle.get(*key), pickle.get(*value)) {
            (Object::Text(key), Object::Dict(_)) => Some((key.as_str(), *value)),
            _ => None,
        })
        .collect();
    let known = KEYS.iter().find_map(|known| dictionaries.iter().find(|(key, _)| key == known));
    if let Some(item) = known {
        return Ok(Some(*item));
    }
    let is_weights = |(_, value): &&(&str, Id)| match pickle.get(*value) {
        Object::Dict(items) => items.iter().any(|(_, value)| matches!(pickle.get(*value), Object::Tensor(_))),
        _ => false,
    };
    match dictionaries.iter().filter(is_weights).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [item] => Ok(Some(*item)),
        [first, second, ..] => Err(Fault::Format(format!(
            "has weights under several keys ({}, {}); save one of them with torch.save",
            first.0.escape_debug(),
            second.0.escape_debug()
        ))),
    }
}

fn collect(pickle: &Pickle, items: &[(Id, Id)], path: Vec<String>) -> StateDict {
    let (mut tensors, mut unknown) = (BTreeMap::new(), Vec::new());
    for (key, value) in items {
        let (Object::Text(name), Object::Tensor(tensor)) = (pickle.get(*key), pickle.get(*value)) else {
            continue;
        };
        let Object::Storage(storage) = pickle.get(tensor.storage) else { continue };
        match storage.dtype {
            Some(dtype) => {
                let (layout, storage) = (tensor.layout.clone(), storage.key.clone());
                tensors.insert(name.clone(), TensorInfo { dtype, layout, storage });
            }
            None => unknown.push(name.clone()),
        }
    }
    StateDict { path, tensors, unknown }
}

fn no_weights(found: &Object) -> Fault {
    let (what, advice) = match found {
        Object::Opaque(class) | Object::Global(class) => (
            format!("a whole object of the class {}", class.escape_debug()),
            "load it with the program that wrote it, and save the network's state_dict() with torch.save",
        ),
        Object::Tensor(_) => ("a single tensor".into(), "give a file of a whole network"),
        _ => ("no dictionary of weights".into(), "save the network's state_dict() with torch.save"),
    };
    Fault::Format(format!("holds {what}; {advice}"))
}
