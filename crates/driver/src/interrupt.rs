//! Signals. The first that asks for an end stops a run with its state saved.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(unix)]
use signal_hook::consts::{SIGABRT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;

/// A flag that every signal sets by which a person, a terminal, or a scheduler asks for an end: SIGINT, SIGTERM, SIGHUP,
/// SIGUSR1, SIGUSR2 and SIGXCPU. A second SIGINT or SIGTERM ends the process with status 1. The others never do, because
/// one event sends them several times: kernel and shell both send SIGHUP when a terminal closes.
///
/// A SIGHUP that was ignored when the process began, as under `nohup`, stays ignored.
pub(crate) fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let insisted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown sees the flag as the former signal left it.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&insisted))?;
        flag::register(signal, Arc::clone(&insisted))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    #[cfg(unix)]
    for signal in [SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU] {
        if signal != SIGHUP || !is_ignored(signal) {
            flag::register(signal, Arc::clone(&stop))?;
        }
    }
    Ok(stop)
}

/// Whether this process ignores `signal`, where the system tells (Linux).
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mask = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let mask = std::fs::read_to_string("/proc/self/status").ok().and_then(mask).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
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
