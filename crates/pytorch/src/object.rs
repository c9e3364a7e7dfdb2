//! The values that a pickle makes.

use std::sync::Arc;

use crate::dtype::Dtype;
use crate::layout::Layout;

/// A value by its number. Values refer to each other by number, so that shared and circular ones
/// cost nothing.
pub(crate) type Id = u32;

#[derive(Debug)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by module and name. It is never called.
    Global(Arc<str>),
    Storage(Storage),
    Tensor(Tensor),
    /// A value without content here, by what made it.
    Opaque(Arc<str>),
}

/// The numbers behind one or several tensors.
#[derive(Debug)]
pub(crate) struct Storage {
    /// The name under which the file holds the numbers.
    pub(crate) key: String,
    /// Their type, if it is known here.
    pub(crate) dtype: Option<Dtype>,
    /// The class that PyTorch holds them in.
    pub(crate) class: Arc<str>,
    /// Their count.
    pub(crate) count: u64,
    /// Where this view of the storage begins; 0 since PyTorch 0.4.
    pub(crate) start: u64,
}

/// A tensor as a view of a storage.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) storage: Id,
    pub(crate) layout: Layout,
}

/// All values of a pickle.
pub(crate) struct Pickle {
    pub(crate) objects: Vec<Object>,
    /// The value that the pickle is about.
    pub(crate) root: Id,
}

impl Pickle {
    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id as usize]
    }
}
