//! Buffers that operations use inside and give back, so that their pages are not fetched from the
//! system every time.
//!
//! They are mapped from the system rather than allocated: they live until the end, and in the
//! allocator's heap they would keep the memory that tensors free around them in small pieces.

use bytemuck::{cast_slice, cast_slice_mut};
use memmap2::MmapMut;
use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses now.
static FREE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// A borrowed buffer.
pub(super) struct Workspace {
    /// None once it is given back.
    data: Option<MmapMut>,
    bytes: usize,
}

/// A buffer of `length` elements of any value: the smallest free one that is large enough, else a new
/// one in place of the largest.
pub(super) fn take(length: usize) -> Workspace {
    let bytes = length * size_of::<f32>();
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = free.iter().enumerate().filter(|(_, data)| data.len() >= bytes);
    let best = fitting.min_by_key(|(_, data)| data.len());
    let best = best.or_else(|| free.iter().enumerate().max_by_key(|(_, data)| data.len()));
    let best = best.map(|(index, _)| index).map(|index| free.swap_remove(index));
    drop(free);
    let data = best.filter(|data| data.len() >= bytes).unwrap_or_else(|| mapped(bytes));
    Workspace { data: Some(data), bytes }
}

/// New pages from the system.
fn mapped(bytes: usize) -> MmapMut {
    MmapMut::map_anon(bytes).unwrap_or_else(|_| {
        handle_alloc_error(Layout::array::<u8>(bytes).expect("a size that memory was asked for"))
    })
}

impl Deref for Workspace {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.data.as_ref().map_or(&[], |data| cast_slice(&data[..self.bytes]))
    }
}

impl DerefMut for Workspace {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.data.as_mut().map_or(&mut [], |data| cast_slice_mut(&mut data[..self.bytes]))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.data.take());
    }
}
