//! Log lines: on standard error for the user, and in the run directory's `run.log` for later.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use tracing::{error, info, warn};
use tracing_indicatif::IndicatifLayer;
use tracing_indicatif::writer::{IndicatifWriter, Stderr};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that filters log lines.
const FILTER: &str = "ROBUSTSEG_LOG";

/// The target of lines about the progress of a stage. If there are bars, only `run.log` gets these
/// lines.
pub(crate) const PROGRESS: &str = "robustseg_driver::bar";

/// The target of lines for `run.log` only.
const KEPT: &str = "robustseg_driver::kept";

/// Maximum bytes of lines that wait for a run directory.
const WAITING: usize = 1 << 16;

/// Whether no line is shown.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The destination of `run.log` lines.
static KEEPER: Mutex<Keeper> = Mutex::new(Keeper::Waiting(Vec::new()));

enum Keeper {
    /// There is no directory yet. Holds the lines so far.
    Waiting(Vec<u8>),
    File(File),
    /// The file cannot be written any more.
    Closed,
}

/// The capabilities of standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Whether lines may be overwritten, for bars.
    pub(crate) bars: bool,
    colours: bool,
}

impl Screen {
    /// Detects the capabilities from standard error and the environment.
    pub(crate) fn of_this_process() -> Self {
        static SCREEN: LazyLock<Screen> = LazyLock::new(|| {
            let variable = |name| std::env::var_os(name).unwrap_or_default();
            Screen::new(
                io::stderr().is_terminal(),
                variable("TERM") == "dumb",
                !variable("NO_COLOR").is_empty(),
            )
        });
        *SCREEN
    }

    fn new(terminal: bool, dumb: bool, no_colour: bool) -> Self {
        let bars = terminal && !dumb;
        Self { bars, colours: bars && !no_colour }
    }
}

/// Starts logging, filtered by `ROBUSTSEG_LOG` (`info` by default).
pub(crate) fn start() {
    let Screen { bars, colours } = Screen::of_this_process();
    let wanted = std::env::var(FILTER).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.as_deref().map(EnvFilter::try_new);
    let fault = filter.as_ref().and_then(|filter| filter.as_ref().err()).map(ToString::to_string);
    let filter = filter.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new("info"));

    let layer = IndicatifLayer::new();
    let writer = layer.get_stderr_writer();
    let shown = tracing_subscriber::fmt::layer()
        .with_writer(move || Shown(writer.clone()))
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false);
    // At a terminal the time is not needed.
    let shown = if bars { shown.without_time().boxed() } else { shown.with_timer(Seconds).boxed() };
    let shown = shown
        .with_filter(filter_fn(move |line| line.target() != KEPT && !(bars && line.target() == PROGRESS)));
    let kept = tracing_subscriber::fmt::layer()
        .with_writer(|| Kept)
        .with_ansi(false)
        .with_target(false)
        .with_timer(Seconds)
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(shown).with(kept).with(layer).init();
    if let Some(fault) = fault {
        warn!("{FILTER} is not a valid filter ({fault}); using `info`, others are `warn` and `debug`");
    }
}

/// Appends all log lines, including earlier ones, to the file at `path`. The log is not a result:
/// if it cannot be written, the run continues without it.
pub(crate) fn keep_in(path: &Path) {
    let file = File::options().create(true).append(true).open(path);
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = if let Keeper::Waiting(lines) = &mut *keeper { std::mem::take(lines) } else { Vec::new() };
    let opened = file.and_then(|mut file| file.write_all(&lines).map(|()| file));
    let fault = opened.as_ref().err().map(ToString::to_string);
    *keeper = opened.map_or(Keeper::Closed, Keeper::File);
    drop(keeper);
    if let Some(fault) = fault {
        warn!("no log is kept in {}: {fault}", path.display());
    }
    let command = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let command = command.collect::<Vec<_>>().join(" ");
    info!(target: KEPT, "robustseg {}: {command}", env!("CARGO_PKG_VERSION"));
}

/// Records the final error of a command, which reaches standard error in another way.
pub(crate) fn keep_error(text: &str) {
    error!(target: KEPT, "{text}");
}

/// Shows no line from now on.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Syncs `run.log`. The later syncs of the folder cover its name.
pub(crate) fn finish() {
    if let Keeper::File(file) = &*KEEPER.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = file.sync_all();
    }
}

/// Writes to standard error, above the bars. If the terminal has closed, no line may be written:
/// clearing the bars for it would panic, possibly while a state is being saved.
struct Shown(IndicatifWriter<Stderr>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // On a closed terminal, even an empty write is an error.
        if QUIET.load(Ordering::Relaxed) || io::stderr().write(&[]).is_err() {
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the run's log.
struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *keeper {
            Keeper::Waiting(lines) if lines.len() + bytes.len() <= WAITING => lines.extend_from_slice(bytes),
            Keeper::File(file) => {
                if file.write_all(bytes).is_err() {
                    *keeper = Keeper::Closed;
                }
            }
            Keeper::Waiting(_) | Keeper::Closed => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time in UTC, to the second.
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        write!(writer, "{}Z", time.get(..19).unwrap_or(&time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_drawn_on_and_coloured_only_where_it_wants_to_be() {
        let screen = |bars, colours| Screen { bars, colours };
        assert_eq!(Screen::new(true, false, false), screen(true, true));
        assert_eq!(Screen::new(true, false, true), screen(true, false));
        assert_eq!(Screen::new(true, true, false), screen(false, false));
        assert_eq!(Screen::new(false, false, false), screen(false, false));
    }
}
