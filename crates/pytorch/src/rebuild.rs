//! The functions and classes that weights need: what a call of them stands for.

use std::sync::Arc;

use crate::dtype::Dtype;
use crate::fault::{Checked, broken};
use crate::layout::{Layout, MOST_AXES};
use crate::machine::Machine;
use crate::object::{Id, Object, Storage, Tensor};

/// The value of `name(*arguments)`. Anything unknown gives a value without content.
pub(crate) fn rebuild(machine: &mut Machine<'_>, name: &Arc<str>, arguments: Id) -> Checked<Id> {
    match &**name {
        "collections.OrderedDict" => dictionary(machine, arguments),
        "collections.defaultdict" => machine.make(Object::Dict(Vec::new())),
        "torch.Size" | "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            first(machine, arguments)
        }
        "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => tensor(machine, arguments),
        // A tensor with attributes of its own: function, type, the function's arguments, attributes.
        "torch._tensor._rebuild_from_type_v2" => {
            let (callee, inner) = match machine.elements(arguments)? {
                [callee, _, inner, ..] => (*callee, *inner),
                _ => return broken("a tensor lacks a part"),
            };
            match machine.get(callee) {
                Object::Global(name) if name.starts_with("torch._utils._rebuild_tensor") => {
                    tensor(machine, inner)
                }
                Object::Global(name) if name.starts_with("torch._utils._rebuild_parameter") => {
                    first(machine, inner)
                }
                _ => machine.make(Object::Opaque(name.clone())),
            }
        }
        _ => machine.make(Object::Opaque(name.clone())),
    }
}

/// The first of `arguments`.
fn first(machine: &Machine<'_>, arguments: Id) -> Checked<Id> {
    match machine.elements(arguments)?.first() {
        Some(id) => Ok(*id),
        None => broken("a call lacks its argument"),
    }
}

/// A dictionary, empty or from a list of pairs as Python 2 writes it.
fn dictionary(machine: &mut Machine<'_>, arguments: Id) -> Checked<Id> {
    let pairs = match machine.elements(arguments)? {
        [] => 0,
        [pairs, ..] => machine.elements(*pairs)?.len(),
    };
    machine.pay(pairs)?;
    let mut items = Vec::with_capacity(pairs);
    if let [pairs, ..] = machine.elements(arguments)? {
        for pair in machine.elements(*pairs)? {
            match machine.elements(*pair)? {
                [key, value] => items.push((*key, *value)),
                _ => return broken("an item of a dictionary is no pair"),
            }
        }
    }
    machine.make(Object::Dict(items))
}

/// A view of a storage, from (storage, offset, sizes, strides, ...).
fn tensor(machine: &mut Machine<'_>, arguments: Id) -> Checked<Id> {
    let (storage, offset, shape, strides) = match machine.elements(arguments)? {
        [storage, offset, shape, strides, ..] => (*storage, *offset, *shape, *strides),
        _ => return broken("a tensor lacks a part"),
    };
    let Object::Storage(Storage { start, count, .. }) = machine.get(storage) else {
        // A storage of another kind, such as one of quantised numbers.
        return machine.make(Object::Opaque("a tensor of another kind".into()));
    };
    let offset = whole(machine, offset)?.saturating_add(*start);
    let shape = axes(machine, shape)?.into_iter().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let layout = Layout::new(offset, shape.collect(), axes(machine, strides)?, *count)?;
    machine.make(Object::Tensor(Tensor { storage, layout }))
}

/// One number for each axis.
fn axes(machine: &Machine<'_>, id: Id) -> Checked<Vec<u64>> {
    let elements = machine.elements(id)?;
    if elements.len() > MOST_AXES {
        return broken(format!("a tensor has {} axes", elements.len()));
    }
    elements.iter().map(|id| whole(machine, *id)).collect()
}

fn whole(machine: &Machine<'_>, id: Id) -> Checked<u64> {
    match machine.get(id) {
        Object::Int(number) if *number >= 0 => Ok(*number as u64),
        _ => broken("a size of a tensor is no whole number of 0 or more"),
    }
}

/// The storage that the persistent id `id` stands for: ("storage", class, key, device, count), with
/// a view of the storage as a sixth part in files of before PyTorch 0.4.
pub(crate) fn storage(machine: &Machine<'_>, id: Id) -> Checked<Object> {
    let (kind, class, key, count, view) = match machine.elements(id)? {
        [kind, class, key, _, count] => (*kind, *class, *key, *count, None),
        [kind, class, key, _, count, view] => (*kind, *class, *key, *count, Some(*view)),
        // The source code of a pickled module.
        _ => return Ok(Object::Opaque("a module".into())),
    };
    let (Object::Text(kind), Object::Global(class), Object::Text(key)) =
        (machine.get(kind), machine.get(class), machine.get(key))
    else {
        return broken("a storage is described by other values than its class and name");
    };
    if kind != "storage" {
        return broken("a persistent value is no storage");
    }
    let start = match view.map(|view| machine.get(view)) {
        None | Some(Object::None) => 0,
        Some(Object::Tuple(parts)) if parts.len() == 3 => whole(machine, parts[1])?,
        Some(_) => return broken("a view of a storage lacks a part"),
    };
    let (key, dtype, count) = (key.clone(), Dtype::of_storage(class), whole(machine, count)?);
    Ok(Object::Storage(Storage { key, dtype, class: class.clone(), count, start }))
}
