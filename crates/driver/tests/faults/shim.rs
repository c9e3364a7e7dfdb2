//! Libraries between the program and those of the system, built from the C files in `shims`.

use std::path::Path;
use std::process::Command;

use crate::short_run::ShortRun;

/// `command` with the shim in `shims/NAME.c`.
pub fn behind(name: &str, run: &ShortRun, mut command: Command) -> Command {
    let library = run.path(&format!("{name}.so"));
    if !library.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/shims/{name}.c"));
        let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"];
        let status = Command::new("cc").args(arguments).arg(&library).arg(source).status();
        assert!(status.expect("a C compiler").success());
    }
    command.env("LD_PRELOAD", library);
    command
}
