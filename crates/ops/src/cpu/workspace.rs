//! Buffers that operations use inside and give back, so that their pages are not fetched from the
//! system every time.
//!
//! They are mapped from the system rather than allocated: they live until the end, and in the
//! allocator's heap they would keep the memory that tensors free around them in small pieces.

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use memmap2::MmapMut;
use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses now.
static FREE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// A borrowed buffer.
pub(super) struct Workspace<T = f32> {
    /// None once it is given back.
    data: Option<MmapMut>,
    bytes: usize,
    elements: PhantomData<T>,
}

/// A buffer of `length` elements of any value: the smallest free one that is large enough, else a new
/// one in place of the largest.
pub(super) fn take<T: Pod>(length: usize) -> Workspace<T> {
    let bytes = length * size_of::<T>();
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = free.iter().enumerate().filter(|(_, data)| data.len() >= bytes);
    let best = fitting.min_by_key(|(_, data)| data.len());
    let best = best.or_else(|| free.iter().enumerate().max_by_key(|(_, data)| data.len()));
    let best = best.map(|(index, _)| index).map(|index| free.swap_remove(index));
    drop(free);
    let data = best.filter(|data| data.len() >= bytes).unwrap_or_else(|| mapped(bytes));
    Workspace { data: Some(data), bytes, elements: PhantomData }
}

/// New pages from the system.
fn mapped(bytes: usize) -> MmapMut {
    MmapMut::map_anon(bytes).unwrap_or_else(|_| {
        handle_alloc_error(Layout::array::<u8>(bytes).expect("a size that memory was asked for"))
    })
}

impl<T: Pod> Deref for Workspace<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.data.as_ref().map_or(&[], |data| cast_slice(&data[..self.bytes]))
    }
}

impl<T: Pod> DerefMut for Workspace<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.data.as_mut().map_or(&mut [], |data| cast_slice_mut(&mut data[..self.bytes]))
    }
}

impl<T> Drop for Workspace<T> {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.data.take());
    }
}
