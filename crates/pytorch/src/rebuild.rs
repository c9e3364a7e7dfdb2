//! The functions and classes that weights need: what a call of them stands for.

use std::sync::Arc;

use crate::dtype::Dtype;
use crate::fault::{Checked, broken};
use crate::layout::{Layout, MOST_AXES};
use crate::object::{Id, Object, Storage, Tensor};
use crate::values::Values;

/// The value of `name(*arguments)`. Anything unknown gives a value without content.
pub(crate) fn rebuild(values: &mut Values, name: &Arc<str>, arguments: Id) -> Checked<Id> {
    match &**name {
        "collections.OrderedDict" => dictionary(values, arguments),
        "collections.defaultdict" => values.make(Object::Dict(Vec::new())),
        "torch.Size" | "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            first(values, arguments)
        }
        "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => tensor(values, arguments),
        // A tensor with attributes of its own: function, type, the function's arguments, attributes.
        "torch._tensor._rebuild_from_type_v2" => {
            let (callee, inner) = match values.elements(arguments)? {
                [callee, _, inner, ..] => (*callee, *inner),
                _ => return broken("a tensor lacks a part"),
            };
            match values.get(callee) {
                Object::Global(name) if name.starts_with("torch._utils._rebuild_tensor") => {
                    tensor(values, inner)
                }
                Object::Global(name) if name.starts_with("torch._utils._rebuild_parameter") => {
                    first(values, inner)
                }
                _ => values.make(Object::Opaque(name.clone())),
            }
        }
        _ => values.make(Object::Opaque(name.clone())),
    }
}

/// The first of `arguments`.
fn first(values: &Values, arguments: Id) -> Checked<Id> {
    match values.elements(arguments)?.first() {
        Some(id) => Ok(*id),
        None => broken("a call lacks its argument"),
    }
}

/// A dictionary, empty or from a list of pairs as Python 2 writes it.
fn dictionary(values: &mut Values, arguments: Id) -> Checked<Id> {
    let pairs = match values.elements(arguments)? {
        [] => 0,
        [pairs, ..] => values.elements(*pairs)?.len(),
    };
    values.pay(pairs)?;
    let mut items = Vec::with_capacity(pairs);
    if let [pairs, ..] = values.elements(arguments)? {
        for pair in values.elements(*pairs)? {
            match values.elements(*pair)? {
                [key, value] => items.push((*key, *value)),
                _ => return broken("an item of a dictionary is no pair"),
            }
        }
    }
    values.make(Object::Dict(items))
}

/// A view of a storage, from (storage, offset, sizes, strides, ...).
fn tensor(values: &mut Values, arguments: Id) -> Checked<Id> {
    let (storage, offset, shape, strides) = match values.elements(arguments)? {
        [storage, offset, shape, strides, ..] => (*storage, *offset, *shape, *strides),
        _ => return broken("a tensor lacks a part"),
    };
    let Object::Storage(Storage { start, count, .. }) = values.get(storage) else {
        // A storage of another kind, such as one of quantised numbers.
        return values.make(Object::Opaque("a tensor of another kind".into()));
    };
    let offset = whole(values, offset)?.saturating_add(*start);
    let shape = axes(values, shape)?.into_iter().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let layout = Layout::new(offset, shape.collect(), axes(values, strides)?, *count)?;
    values.make(Object::Tensor(Tensor { storage, layout }))
}

/// One number for each axis.
fn axes(values: &Values, id: Id) -> Checked<Vec<u64>> {
    let elements = values.elements(id)?;
    if elements.len() > MOST_AXES {
        return broken(format!("a tensor has {} axes", elements.len()));
    }
    elements.iter().map(|id| whole(values, *id)).collect()
}

fn whole(values: &Values, id: Id) -> Checked<u64> {
    match values.get(id) {
        Object::Int(number) if *number >= 0 => Ok(*number as u64),
        _ => broken("a size of a tensor is not a whole number of 0 or more"),
    }
}

/// The storage that the persistent id `id` stands for: ("storage", class, key, device, count), with
/// a view of the storage as a sixth part in files of before PyTorch 0.4.
pub(crate) fn storage(values: &Values, id: Id) -> Checked<Object> {
    let (kind, class, key, count, view) = match values.elements(id)? {
        [kind, class, key, _, count] => (*kind, *class, *key, *count, None),
        [kind, class, key, _, count, view] => (*kind, *class, *key, *count, Some(*view)),
        // The source code of a pickled module.
        _ => return Ok(Object::Opaque("a module".into())),
    };
    let (Object::Text(kind), Object::Global(class), Object::Text(key)) =
        (values.get(kind), values.get(class), values.get(key))
    else {
        return broken("a storage is described by other values than its class and name");
    };
    if kind != "storage" {
        return broken("a persistent value is no storage");
    }
    let start = match view.map(|view| values.get(view)) {
        None | Some(Object::None) => 0,
        Some(Object::Tuple(parts)) if parts.len() == 3 => whole(values, parts[1])?,
        Some(_) => return broken("a view of a storage lacks a part"),
    };
    let (key, dtype, count) = (key.clone(), Dtype::of_storage(class), whole(values, count)?);
    Ok(Object::Storage(Storage { key, dtype, class: class.clone(), count, start }))
}
