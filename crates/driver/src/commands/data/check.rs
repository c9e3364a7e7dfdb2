//! `robustseg data check`: reads every file of a dataset and compares it with the manifest.

use std::path::Path;
use std::sync::Mutex;

use clap::Args;
use robustseg_datasets::{CheckReport, FaultKind, Manifest, Overlap, fingerprint};
use robustseg_words::counted;
use tracing::info;

use super::place::Place;
use crate::check_cache::CheckCache;
use crate::data::pairs;
use crate::exit::BadData;
use crate::progress::Meter;

/// Arguments of `data check`.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    place: Place,
    /// Prints results as JSON.
    #[arg(long)]
    json: bool,
    /// Reads every file, even if it has not changed since the last check.
    #[arg(long)]
    fresh: bool,
}

impl Check {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        let (manifest, root) = self.place.find()?;
        let report = self.report(&manifest, &root)?;
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
        let (faults, overlaps) = (counted(faults, "fault"), counted(overlaps, "overlap"));
        let text = format!("data {name}: {faults} and {overlaps} of splits, listed above");
        Err(BadData(text).into())
    }

    /// The report of a new check, or the cached report if no file has changed since.
    fn report(&self, manifest: &Manifest, root: &Path) -> anyhow::Result<CheckReport> {
        let cache = CheckCache::new(manifest, root, &fingerprint(manifest, root)?);
        let known = cache.as_ref().filter(|_| !self.fresh).and_then(CheckCache::read);
        if let Some(report) = known {
            info!("no file has changed since the last check, whose result this is; --fresh reads all again");
            return Ok(report);
        }
        let meter = Mutex::new(Meter::new());
        let report = robustseg_datasets::check(manifest, root, |done, total| {
            if let Ok(mut meter) = meter.lock() {
                meter.advance("checking", done as u64, total as u64);
            }
        })?;
        if let Some(cache) = cache {
            cache.write(&report);
        }
        Ok(report)
    }
}

/// Prints one paragraph per split: sizes, hashes, class shares, and each kind of fault once.
fn print(report: &CheckReport, manifest: &Manifest) {
    for split in &report.splits {
        println!("{} {}: {} of {}", report.name, split.split, counted(split.count, "sample"), split.expected);
        if let (Some((width, height)), Some((widest, highest))) = (split.min_size, split.max_size) {
            println!("  images    {width}x{height} to {widest}x{highest} pixels");
        }
        println!("  ids       SHA-256 {}", split.ids_sha256);
        if let Some(sha256) = &split.files_sha256 {
            println!("  files     SHA-256 {sha256}");
        }
        let labelled: u64 = split.class_pixels.iter().sum();
        let percent = |pixels: u64, of: u64| 100.0 * pixels as f64 / (of.max(1)) as f64;
        let ignored = percent(split.ignored_pixels, labelled + split.ignored_pixels);
        let classes = manifest.classes.iter().zip(&split.class_pixels);
        let shares =
            classes.map(|(class, pixels)| format!("{} {:.2} %", class.name, percent(*pixels, labelled)));
        println!("  labelled  {}", shares.collect::<Vec<_>>().join(", "));
        println!("  ignored   {ignored:.2} % of all pixels");
        for warning in &split.warnings {
            println!("  warning   {warning}");
        }
        for FaultKind { kind, advice, count, first } in &split.fault_kinds {
            println!("  fault     {kind}: {count} of {}; {advice}", counted(split.count, "sample"));
            for fault in first {
                println!("            {fault}");
            }
            if *count > first.len() {
                println!("            and {} more; --json lists all", count - first.len());
            }
        }
    }
    for overlap in &report.overlaps {
        let verdict =
            if overlap.allowed { "as the manifest allows" } else { "which the manifest does not allow" };
        let Overlap { first, second, count, examples, .. } = overlap;
        let (shared, pairs) = (counted(*count, "image"), pairs(examples));
        println!("{first} and {second} share {shared} ({pairs}), {verdict}");
    }
}
