//! `robustseg data`: a dataset verified, obtained, prepared or looked at.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::{Args, Subcommand};
use robustseg_datasets::{
    CheckReport, DATA_FOLDER, FaultKind, Fetch, FetchStage, Fetched, Manifest, Overlap, fingerprint,
};
use robustseg_words::counted;
use tracing::info;

use super::prepare::Prepare;
use super::preview::Preview;
use crate::check_cache::CheckCache;
use crate::exit::{BadData, Usage};
use crate::inputs::{Inputs, is_folder};
use crate::plan::{self, pairs};
use crate::progress::Meter;

/// Arguments of `data`.
#[derive(Subcommand)]
pub(crate) enum Data {
    /// Decodes every image and label of every split and compares lists, counts, sizes and label values with the
    /// manifest. Files that have not changed since a sound check are not read again.
    Check(Check),
    /// Downloads what may be had freely, verifies it and unpacks it; says how to obtain the rest. Goes on where it was
    /// interrupted.
    Fetch(FetchArguments),
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
    /// The data's folder [default: the manifest's folder under `$ROBUSTSEG_DATA`].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Place {
    /// The manifest, and the data's folder.
    ///
    /// # Errors
    /// If the manifest cannot be used, and with [`Usage`] if nothing says where the folder is.
    pub(crate) fn find(&self) -> anyhow::Result<(Manifest, PathBuf)> {
        let manifest = Manifest::load(&self.manifest)?;
        let root = plan::root(&manifest, self.root.as_deref()).ok_or_else(|| {
            let name = &manifest.name;
            Usage(format!("data {name}: nowhere to look; give --root DIR, or set ${DATA_FOLDER} to the folder of all data"))
        })?;
        Ok((manifest, root))
    }

    /// What a command reads that works on the data in the folder `root`, which is empty for generated data.
    pub(crate) fn inputs(&self, root: &Path) -> Inputs {
        Inputs::of([self.manifest.as_path(), root])
    }
}

/// Arguments of `data fetch`.
#[derive(Args)]
pub(crate) struct FetchArguments {
    #[command(flatten)]
    place: Place,
    /// Prints results as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `data check`.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    place: Place,
    /// Prints results as JSON.
    #[arg(long)]
    json: bool,
    /// Reads every file, whether or not it has changed since the last check.
    #[arg(long)]
    fresh: bool,
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

impl Check {
    fn execute(&self) -> anyhow::Result<()> {
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

    /// What a check finds, or found when the files were last as they are now.
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

impl FetchArguments {
    fn execute(&self) -> anyhow::Result<()> {
        let (manifest, root) = self.place.find()?;
        let root = if self.place.root.is_none() { unpacked_in(&manifest, root) } else { root };
        if !manifest.is_generated() {
            is_folder(&root, "--root")?;
        }
        let meter = RefCell::new(Meter::new());
        let fetched = Fetch::default().run(&manifest, &root, |progress| {
            let stage = match progress.stage {
                FetchStage::Downloading => "fetching (MiB)",
                FetchStage::Verifying => "verifying (MiB)",
                FetchStage::Unpacking => "unpacking (MiB)",
            };
            // A length that nobody knows is not yet reached.
            let total = if progress.total == 0 { progress.done + 1 } else { progress.total };
            meter.borrow_mut().advance(stage, progress.done >> 20, total.div_ceil(1 << 20));
        })?;
        let text = |path: &Path| path.display().to_string();
        if self.json {
            let folders: Vec<String> = fetched.iter().map(|fetched| text(&fetched.folder)).collect();
            let archives: Vec<String> =
                fetched.iter().filter_map(|fetched| fetched.archive.as_deref()).map(text).collect();
            println!("{:#}", serde_json::json!({ "folders": folders, "archives": archives }));
            return Ok(());
        }
        for Fetched { folder, archive } in &fetched {
            match archive {
                Some(archive) => {
                    println!(
                        "{} is unpacked; {} is not needed any more",
                        folder.display(),
                        archive.display()
                    );
                }
                None => println!("{} was there already and is left as it was", folder.display()),
            }
        }
        if manifest.is_generated() {
            println!("{} is generated: there is nothing to fetch", manifest.name);
        } else {
            let (manifest, root) = (self.place.manifest.display(), root.display());
            println!("verify it with: robustseg data check {manifest} --root {root}");
        }
        Ok(())
    }
}

/// Where archives are unpacked so that the data is at `root`: above it, if an archive has that folder in itself, as VOC's
/// `VOCdevkit/VOC2012`.
fn unpacked_in(manifest: &Manifest, root: PathBuf) -> PathBuf {
    let own = manifest.archives.iter().map(|archive| &archive.folder).find(|folder| root.ends_with(folder));
    let above = own.and_then(|folder| root.ancestors().nth(folder.components().count()));
    above.map(Path::to_owned).unwrap_or(root)
}

/// The report for people: a paragraph a split, each kind of fault once, and the share of each class.
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
