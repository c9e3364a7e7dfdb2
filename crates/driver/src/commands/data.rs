//! `robustseg data`: a dataset verified, obtained, prepared or looked at.

use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, Subcommand};
use robustseg_datasets::{CheckReport, Manifest};

use super::prepare::Prepare;
use super::preview::Preview;
use crate::exit::BadData;
use crate::plan::how_to_get;
use crate::progress::Meter;

/// Arguments of `data`.
#[derive(Subcommand)]
pub(crate) enum Data {
    /// Decodes every image and label of every split and compares counts, sizes and label values with the manifest.
    Check(Place),
    /// Not available yet; says how to obtain the data by hand.
    Fetch(Place),
    /// Decodes every sample once, into packs that a spec's `data.cache` reads; verifies those that are there.
    Prepare(Prepare),
    /// Draws a contact sheet: samples, their labels over them, and augmented crops.
    Preview(Preview),
}

/// Which data, and where.
#[derive(Args)]
pub(crate) struct Place {
    /// The data's manifest.
    manifest: PathBuf,
    /// The data's folder.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Prints results as JSON.
    #[arg(long)]
    json: bool,
}

impl Data {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::Check(place) => place.check(),
            Self::Fetch(place) => place.fetch(),
            Self::Prepare(prepare) => prepare.execute(),
            Self::Preview(preview) => preview.execute(),
        }
    }
}

impl Place {
    fn check(&self) -> anyhow::Result<()> {
        let manifest = Manifest::load(&self.manifest)?;
        let meter = Mutex::new(Meter::new());
        let report = robustseg_datasets::check(&manifest, &self.root, |done, total| {
            if let Ok(mut meter) = meter.lock() {
                meter.advance("checking", done as u64, total as u64);
            }
        })?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print(&report, &manifest);
        }
        if report.is_sound() {
            return Ok(());
        }
        let faults: usize = report.splits.iter().map(|split| split.faults.len()).sum();
        let overlaps = report.overlaps.iter().filter(|overlap| !overlap.allowed).count();
        let name = &manifest.name;
        let text = format!("data {name}: {faults} faults and {overlaps} overlaps of splits, listed above");
        Err(BadData(text).into())
    }

    fn fetch(&self) -> anyhow::Result<()> {
        let manifest = Manifest::load(&self.manifest)?;
        anyhow::bail!(
            "data fetch is not available yet. Obtain {} by hand; {}; then verify it with: robustseg data check {} \
             --root {}",
            manifest.name,
            how_to_get(&manifest),
            self.manifest.display(),
            self.root.display()
        )
    }
}

/// The report for people: a paragraph a split, faults first come first told, and the share of each class.
fn print(report: &CheckReport, manifest: &Manifest) {
    for split in &report.splits {
        println!("{} {}: {} samples of {}", report.name, split.split, split.count, split.expected);
        if let (Some((width, height)), Some((widest, highest))) = (split.min_size, split.max_size) {
            println!("  images    {width}x{height} to {widest}x{highest} pixels");
        }
        println!("  ids       SHA-256 {}", split.ids_sha256);
        let labelled: u64 = split.class_pixels.iter().sum();
        let percent = |pixels: u64, of: u64| 100.0 * pixels as f64 / (of.max(1)) as f64;
        let ignored = percent(split.ignored_pixels, labelled + split.ignored_pixels);
        let classes = manifest.classes.iter().zip(&split.class_pixels);
        let shares =
            classes.map(|(class, pixels)| format!("{} {:.2} %", class.name, percent(*pixels, labelled)));
        println!("  labelled  {}", shares.collect::<Vec<_>>().join(", "));
        println!("  ignored   {ignored:.2} % of all pixels");
        for fault in &split.faults {
            println!("  fault     {fault}");
        }
    }
    for overlap in &report.overlaps {
        let verdict =
            if overlap.allowed { "as the manifest allows" } else { "which the manifest does not allow" };
        println!("{} and {} share {} samples, {verdict}", overlap.first, overlap.second, overlap.count);
    }
}
