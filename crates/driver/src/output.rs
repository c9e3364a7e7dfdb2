//! Standard output and standard error, whose readers may disappear.
//!
//! If nobody reads the output any more, as in `robustseg check SPEC | head -1`, a command finishes
//! its work, drops the rest of its output, and ends with the status of its work. If the output
//! cannot be written, for example on a full disk, that is an error, reported after the work.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// The error that ended standard output, if any.
static FAULT: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes `text` to standard output, unless an earlier write has failed.
pub(crate) fn print(text: Arguments<'_>) {
    keep_fault(|| io::stdout().write_fmt(text));
}

/// Writes `text` to standard error. A failure cannot be reported anywhere.
pub(crate) fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Flushes standard output.
///
/// # Errors
/// If it cannot be written, unless its reader has gone.
pub(crate) fn finish() -> anyhow::Result<()> {
    keep_fault(|| io::stdout().flush());
    match FAULT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("writing to standard output")
        }
        _ => Ok(()),
    }
}

fn keep_fault(write: impl FnOnce() -> io::Result<()>) {
    let mut fault = FAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if fault.is_none() {
        *fault = write().err();
    }
}

/// Like the standard library's macro, but never panics.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// Like the standard library's macro, but never panics.
macro_rules! println {
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Like the standard library's macro, but never panics.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
