//! `robustseg data fetch`: downloads, verifies and unpacks archives.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::Args;
use robustseg_datasets::{FetchStage, Fetched, Manifest};

use super::place::Place;
use crate::inputs::is_folder;
use crate::progress::Meter;

/// Arguments of `data fetch`.
#[derive(Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    place: Place,
    /// Prints results as JSON.
    #[arg(long)]
    json: bool,
}

impl Fetch {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        let (manifest, root) = self.place.find()?;
        let root = if self.place.root.is_none() { unpacked_in(&manifest, root) } else { root };
        if !manifest.is_generated() {
            is_folder(&root, "--root")?;
        }
        let meter = RefCell::new(Meter::new());
        let fetched = robustseg_datasets::Fetch::default().run(&manifest, &root, |progress| {
            let stage = match progress.stage {
                FetchStage::Downloading => "fetching (MiB)",
                FetchStage::Verifying => "verifying (MiB)",
                FetchStage::Unpacking => "unpacking (MiB)",
            };
            // A total that is never reached stands for an unknown length.
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

/// The folder to unpack archives into such that the data ends up at `root`. It is above `root` if
/// an archive contains the data's folder, as in VOC's `VOCdevkit/VOC2012`.
fn unpacked_in(manifest: &Manifest, root: PathBuf) -> PathBuf {
    let own = manifest.archives.iter().map(|archive| &archive.folder).find(|folder| root.ends_with(folder));
    let above = own.and_then(|folder| root.ancestors().nth(folder.components().count()));
    above.map(Path::to_owned).unwrap_or(root)
}
