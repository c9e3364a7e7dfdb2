//! Signals. Ctrl-C and termination: the first asks to stop with the state saved, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(unix)]
use signal_hook::consts::{SIGABRT, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;

/// A flag that SIGINT or SIGTERM sets; a second signal ends the process with status 1.
pub(crate) fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown sees the flag as the former signal left it.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Gives the ends that the system has in store for a process the form that all have here: a file that outgrows its limit
/// is an error of the write, and an abort, which is how Rust ends where memory is short, has its status.
///
/// Nothing is written after an abort: what a run has saved is as good as after a kill.
pub(crate) fn tame_signals() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        flag::register(SIGXFSZ, Arc::default())?;
        let always = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(SIGABRT, Exit::Training as i32, always)?;
    }
    Ok(())
}
