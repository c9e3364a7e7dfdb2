//! The threads that compute on GPUs. A stream records the work of all of them, so a thread records alone.

use std::sync::{Mutex, PoisonError};

/// The number of threads that have computed on a GPU and live. Held while one of them records.
static USERS: Mutex<usize> = Mutex::new(0);

/// Counts a thread while it lives.
struct User;

impl User {
    fn new() -> Self {
        *USERS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for User {
    fn drop(&mut self) {
        *USERS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

thread_local! {
    static THIS: User = User::new();
}

/// Counts this thread, and waits while another one records. A thread that ends is not counted again.
pub(super) fn enter() {
    let _ = THIS.try_with(|_| ());
}

/// What `work` gives if this thread is the only one. Others wait until it is done.
pub(super) fn alone<R>(work: impl FnOnce() -> R) -> Option<R> {
    enter();
    let users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    (*users == 1).then(work)
}
