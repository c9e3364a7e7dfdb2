//! Charts and their files.

use crate::draw::chart::{Chart, Size};
use crate::run_directory::RunDirectory;

/// Writes `chart` as `figures/NAME.svg`, and as `figures/NAME.pdf` for papers, into `directory`.
pub(super) fn write(directory: &RunDirectory, name: &str, chart: &Chart) -> anyhow::Result<()> {
    directory.write(&format!("figures/{name}.svg"), chart.svg(Size::Wide).as_bytes())?;
    directory.write(&format!("figures/{name}.pdf"), &chart.pdf())
}
