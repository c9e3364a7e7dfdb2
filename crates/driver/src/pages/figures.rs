//! Charts and their files.

use tracing::warn;

use crate::draw::chart::{Chart, Size};
use crate::run_directory::RunDirectory;

/// Writes `chart` as `figures/NAME.svg`, and as `figures/NAME.pdf` for papers, into `directory`. There
/// is no PDF with a warning, if its font lacks a character.
pub(super) fn write(directory: &RunDirectory, name: &str, chart: &Chart) -> anyhow::Result<()> {
    directory.write(&format!("figures/{name}.svg"), chart.svg(Size::Wide).as_bytes())?;
    match chart.pdf() {
        Ok(pdf) => directory.write(&format!("figures/{name}.pdf"), &pdf),
        Err(character) => {
            warn!("figures/{name}.pdf is left out: its font has no `{character}`; figures/{name}.svg has it");
            Ok(())
        }
    }
}
