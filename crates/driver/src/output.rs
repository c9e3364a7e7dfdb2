//! Standard output and standard error, whose readers may go away.
//!
//! A command whose output nobody reads on, such as `robustseg check SPEC | head -1`, does its work, drops what is left to
//! say, and ends with the status of its work. An output that cannot take what is written, on a full disk for example, is an
//! error, told when the work is done.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;

/// What ended standard output, if anything did.
static FAULT: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes `text` to standard output, unless an earlier write has failed.
pub(crate) fn print(text: Arguments<'_>) {
    keep_fault(|| io::stdout().write_fmt(text));
}

/// Writes `text` to standard error; nobody is left to be told if that fails.
pub(crate) fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// All that was printed is written.
///
/// # Errors
/// If it cannot be, other than because the reader is gone.
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

/// As the standard library's, which panics where [`print`] does not.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// As the standard library's, which panics where [`print`] does not.
macro_rules! println {
    ($($text:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// As the standard library's, which panics where [`print_error`] does not.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
