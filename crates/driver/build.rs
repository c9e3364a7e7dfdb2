//! Passes the commit and candle's version to the program, for the provenance of its results.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rustc-env=ROBUSTSEG_COMMIT={}", commit(&root).unwrap_or_default());
    println!("cargo::rustc-env=ROBUSTSEG_CANDLE={}", candle(&root).unwrap_or_default());
    for watched in ["Cargo.lock", ".git/HEAD", ".git/logs/HEAD"] {
        let path = root.join(watched);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// The commit of the source, if there is a repository and git.
fn commit(root: &Path) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(["rev-parse", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The version of candle in the lock file.
fn candle(root: &Path) -> Option<String> {
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).ok()?;
    let (_, after) = lock.split_once("name = \"candle-core\"\nversion = \"")?;
    Some(after.split_once('"')?.0.to_owned())
}
