//! Panics, which are bugs of the program, reported like errors.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Mutex;

use anyhow::anyhow;

use crate::memory::no_threads;

/// The message and position of the last panic of any thread.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Does `work`. A panic in it, on this thread or a worker thread, becomes an error with its
/// position. Saved states are as intact as after a kill.
pub(crate) fn caught(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST.lock() {
            *last = panic.to_string();
        }
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let last = LAST.lock().map(|last| last.clone()).unwrap_or_default();
        Err(error_of(&last))
    })
}

/// The error behind a panic. Some libraries can report errors only by a panic.
fn error_of(panic: &str) -> anyhow::Error {
    if let Some((_, reason)) = panic.split_once("failed to spawn ") {
        return no_threads(reason).into();
    }
    anyhow!("a fault of robustseg itself, please report it: {panic}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_worker_is_an_error_that_says_where() {
        let work = || {
            rayon::scope(|scope| scope.spawn(|_| panic!("seven")));
            Ok(())
        };
        let error = caught(work).unwrap_err().to_string();
        assert!(error.contains("seven") && error.contains("panic.rs"), "{error}");
        assert!(caught(|| Ok(())).is_ok());
        assert_eq!(caught(|| Err(anyhow!("eight"))).unwrap_err().to_string(), "eight");
    }
}
