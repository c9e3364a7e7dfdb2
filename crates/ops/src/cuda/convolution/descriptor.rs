//! Descriptors of cuDNN's graph interface: objects with attributes, which are finished once.

use super::cudnn::{Reason, reason};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use std::ptr::null_mut;
use sys::{cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type};

/// A descriptor, destroyed with this value.
pub(super) struct Descriptor(sys::cudnnBackendDescriptor_t);

impl Descriptor {
    pub(super) fn new(kind: sys::cudnnBackendDescriptorType_t) -> Result<Self, Reason> {
        let mut made = null_mut();
        // SAFETY: cuDNN writes the new descriptor.
        unsafe { sys::cudnnBackendCreateDescriptor(kind, &raw mut made) }.result().map_err(reason)?;
        Ok(Self(made))
    }

    /// cuDNN's pointer, as an attribute of another descriptor.
    pub(super) fn pointer(&self) -> sys::cudnnBackendDescriptor_t {
        self.0
    }

    /// Sets an attribute. `V` is what cuDNN reads for the type `of`.
    pub(super) fn set<V: Copy>(&self, name: Name, of: Type, values: &[V]) -> Result<(), Reason> {
        // SAFETY: the call states the number and the type of the values.
        let status = unsafe {
            sys::cudnnBackendSetAttribute(self.0, name, of, values.len() as i64, values.as_ptr().cast())
        };
        status.result().map_err(|error| format!("{name:?}: {}", reason(error)))
    }

    /// Sets an attribute to other descriptors.
    pub(super) fn link(&self, name: Name, others: &[&Self]) -> Result<(), Reason> {
        let pointers: Vec<_> = others.iter().map(|other| other.0).collect();
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &pointers)
    }

    /// Reads an attribute into `values`, which are as many as there may be. Returns how many there
    /// are.
    pub(super) fn get<V: Copy>(&self, name: Name, of: Type, values: &mut [V]) -> Result<usize, Reason> {
        let (mut count, most) = (0, values.len() as i64);
        let to = if values.is_empty() { null_mut() } else { values.as_mut_ptr().cast() };
        // SAFETY: the call states for how many values there is room, and their type.
        let status = unsafe { sys::cudnnBackendGetAttribute(self.0, name, of, most, &raw mut count, to) };
        status.result().map_err(|error| format!("{name:?}: {}", reason(error)))?;
        Ok(count.max(0) as usize)
    }

    /// Checks the attributes, which do not change any more.
    pub(super) fn finish(self) -> Result<Self, Reason> {
        // SAFETY: the descriptor exists.
        unsafe { sys::cudnnBackendFinalize(self.0) }.result().map_err(reason)?;
        Ok(self)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is not used any more. A failure has no remedy.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.0) };
    }
}
