//! The values that a pickle makes, within bounds.

use crate::fault::{Checked, broken};
use crate::object::{Id, Object};

/// Most values of a pickle. A checkpoint of a thousand tensors with its optimiser has some 50,000.
pub(crate) const MOST_OBJECTS: usize = 1 << 21;

/// All values so far.
#[derive(Default)]
pub(crate) struct Values {
    pub(crate) objects: Vec<Object>,
    /// Elements of containers that were copied.
    copied: usize,
}

impl Values {
    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id as usize]
    }

    /// The elements of the tuple or list `id`.
    pub(crate) fn elements(&self, id: Id) -> Checked<&[Id]> {
        match self.get(id) {
            Object::Tuple(elements) | Object::List(elements) => Ok(elements),
            _ => broken("a value that should be a tuple is something else"),
        }
    }

    /// A further value.
    pub(crate) fn make(&mut self, object: Object) -> Checked<Id> {
        if self.objects.len() == MOST_OBJECTS {
            return broken(format!("its pickle has more than {MOST_OBJECTS} values"));
        }
        self.objects.push(object);
        Ok(self.objects.len() as Id - 1)
    }

    /// Counts `elements` that are about to be copied, as an instruction of one byte may do to a
    /// container of any size.
    pub(crate) fn pay(&mut self, elements: usize) -> Checked<()> {
        self.copied += elements;
        if self.copied > MOST_OBJECTS {
            return broken(format!("its pickle copies more than {MOST_OBJECTS} values"));
        }
        Ok(())
    }
}
