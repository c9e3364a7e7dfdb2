//! Memory that is asked for before work begins, because Rust ends a process that runs out of it.

use std::fmt::Display;
use std::hint::black_box;

use crate::exit::OutOfMemory;

/// Asks the system for `bytes`, gives them back, and refuses `what` if they are not to be had; `advice` says what to lower.
///
/// # Errors
/// [`OutOfMemory`], as a limit (`ulimit -v`, `ulimit -d`) or the machine's memory says. It is no promise: others may take
/// it, and what is needed is estimated from below.
pub(crate) fn require(bytes: u64, what: &str, advice: &str) -> Result<(), OutOfMemory> {
    let mut room: Vec<u8> = Vec::new();
    let granted = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // Or the compiler sees that nobody uses it.
    black_box(&room);
    if granted {
        return Ok(());
    }
    let amount = bytes as f64 / f64::from(1 << 20);
    Err(OutOfMemory(format!(
        "{what} needs at least {amount:.0} MB of memory, which is not to be had: {advice}"
    )))
}

/// That threads cannot be started, whose stacks are memory too.
pub(crate) fn no_threads(reason: impl Display) -> OutOfMemory {
    let advice = "raise the limit of memory or processes, or set RAYON_NUM_THREADS to fewer";
    OutOfMemory(format!("threads cannot be started: {reason}; {advice}"))
}
