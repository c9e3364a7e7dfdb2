//! `robustseg data`: verifies, downloads, prepares or shows a dataset.

mod check;
mod fetch;
mod init;
mod place;
mod prepare;
mod preview;

use clap::Subcommand;

use check::Check;
use fetch::Fetch;
use init::Init;
use prepare::Prepare;
use preview::Preview;

/// Arguments of `data`.
#[derive(Subcommand)]
pub(crate) enum Data {
    /// Looks at a folder of images and label maps and writes its manifest. Says what it guessed.
    Init(Init),
    /// Decodes every image and label of every split and compares lists, counts, sizes and label
    /// values with the manifest. After a check without faults, unchanged files are not read again.
    Check(Check),
    /// Downloads freely available data, verifies and unpacks it; explains how to obtain the rest.
    /// Resumes an interrupted download.
    Fetch(Fetch),
    /// Decodes every sample once into packs for a spec's `data.cache`; verifies existing packs.
    Prepare(Prepare),
    /// Draws a contact sheet with a legend: samples, their labels as overlays, and augmented crops,
    /// of a manifest or as the training of a spec sees them.
    Preview(Preview),
}

impl Data {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::Init(init) => init.execute(),
            Self::Check(check) => check.execute(),
            Self::Fetch(fetch) => fetch.execute(),
            Self::Prepare(prepare) => prepare.execute(),
            Self::Preview(preview) => preview.execute(),
        }
    }
}
