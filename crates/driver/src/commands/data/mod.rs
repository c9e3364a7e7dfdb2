//! `robustseg data`: a dataset verified, obtained, prepared or shown.

mod check;
mod fetch;
mod place;
mod prepare;
mod preview;

use clap::Subcommand;

use check::Check;
use fetch::Fetch;
use prepare::Prepare;
use preview::Preview;

/// Arguments of `data`.
#[derive(Subcommand)]
pub(crate) enum Data {
    /// Decodes every image and label of every split and compares lists, counts, sizes and label values with the
    /// manifest. Files that have not changed since a sound check are not read again.
    Check(Check),
    /// Downloads what may be had freely, verifies it and unpacks it; says how to obtain the rest. Goes on where it was
    /// interrupted.
    Fetch(Fetch),
    /// Decodes every sample once, into packs that a spec's `data.cache` reads; verifies those that are there.
    Prepare(Prepare),
    /// Draws a contact sheet: samples, their labels over them, and augmented crops.
    Preview(Preview),
}

impl Data {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.execute(),
            Self::Fetch(fetch) => fetch.execute(),
            Self::Prepare(prepare) => prepare.execute(),
            Self::Preview(preview) => preview.execute(),
        }
    }
}
