//! Buffers that operations use inside and give back, so that their pages are not fetched from the
//! system every time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses now.
static FREE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A borrowed buffer.
pub(super) struct Workspace {
    data: Vec<f32>,
    length: usize,
}

/// A buffer of `length` elements of any value: the smallest free one that is large enough, else the
/// largest, grown.
pub(super) fn take(length: usize) -> Workspace {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = free.iter().enumerate().filter(|(_, data)| data.len() >= length);
    let best = fitting.min_by_key(|(_, data)| data.len());
    let best = best.or_else(|| free.iter().enumerate().max_by_key(|(_, data)| data.len()));
    let mut data = match best.map(|(index, _)| index) {
        Some(index) => free.swap_remove(index),
        None => Vec::new(),
    };
    drop(free);
    if data.len() < length {
        // Nothing of the old values is wanted, so nothing has to be copied.
        data = vec![0.0; length];
    }
    Workspace { data, length }
}

impl Deref for Workspace {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.length]
    }
}

impl DerefMut for Workspace {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.length]
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.data));
    }
}
