//! Signals. The first request to end stops a run and saves its state.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(unix)]
use signal_hook::consts::{SIGABRT, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;

/// A flag that is set by every signal with which a person, a terminal, or a scheduler requests an
/// end: SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU. A second SIGINT or SIGTERM ends the
/// process with status 1. The others never do, because a single event may send them several times:
/// both the kernel and the shell send SIGHUP when a terminal closes. Nor does any for one of several
/// `processes`, because launchers repeat SIGTERM while the state is being saved.
///
/// A SIGHUP that the process inherited as ignored, as under `nohup`, stays ignored.
pub(crate) fn stop_flag(processes: usize) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let insisted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the shutdown must see the flag as the previous signal left it.
        if processes == 1 {
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&insisted))?;
            flag::register(signal, Arc::clone(&insisted))?;
        }
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

/// Whether this process ignores `signal`, as far as the system reports it (Linux).
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mask = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let mask = std::fs::read_to_string("/proc/self/status").ok().and_then(mask).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Replaces the system's own ways to end a process. A file that exceeds its size limit becomes a
/// write error, and an abort, with which Rust reacts to a lack of memory, gets its exit status.
///
/// Nothing is written after an abort: saved states are as intact as after a kill.
pub(crate) fn tame_signals() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        flag::register(SIGXFSZ, Arc::default())?;
        let always = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(SIGABRT, Exit::Training as i32, always)?;
    }
    Ok(())
}
