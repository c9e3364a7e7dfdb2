//! Makes the report of a run directory again from its other files: `report RUN_DIR`.
//!
//! `cargo run -p robustseg-driver --example report -- runs/synthetic_fastnewton`

use std::path::PathBuf;

use robustseg_driver::pages::write_report;
use robustseg_driver::run_directory::RunDirectory;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: report RUN_DIR"))?;
    let report = write_report(&RunDirectory::lock(&PathBuf::from(path))?)?;
    println!("{}", report.display());
    Ok(())
}
