//! `robustseg completions`: a script that completes the command line in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script that completes `command`.
    pub(crate) fn print(&self, mut command: Command) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "robustseg", &mut script);
        print!("{}", String::from_utf8_lossy(&script));
    }
}
