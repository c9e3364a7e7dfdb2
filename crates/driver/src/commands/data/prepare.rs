//! `robustseg data prepare`: packs of decoded samples for a spec's `data.cache`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;
use robustseg_datasets::{Prepared, is_pack};

use super::place::Place;
use crate::exit::Usage;
use crate::inputs::{Inputs, is_folder};
use crate::progress::Meter;
use crate::record::names_below;

/// Arguments of `data prepare`.
#[derive(Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    place: Place,
    /// The folder for the packs, one per split: `data.cache` of a spec. Needs four bytes per pixel.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A split to prepare, instead of all; may be repeated.
    #[arg(long = "split", value_name = "SPLIT")]
    splits: Vec<String>,
}

impl Prepare {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let (manifest, root) = self.place.find()?;
        self.check(&root)?;
        let all = || manifest.split_names().map(str::to_owned).collect();
        let splits: Vec<String> = if self.splits.is_empty() { all() } else { self.splits.clone() };
        for split in &splits {
            let meter = Mutex::new(Meter::new());
            let progress = |done, total| {
                if let Ok(mut meter) = meter.lock() {
                    meter.advance("preparing", done as u64, total as u64);
                }
            };
            let (prepared, bytes) =
                robustseg_datasets::prepare(&manifest, &root, split, &self.out, progress)?;
            let outcome = match prepared {
                Prepared::UpToDate => "is up to date, all checksums are right".into(),
                Prepared::Built(None) => "was made".into(),
                Prepared::Built(Some(reason)) => {
                    format!("was made again, because the previous pack {reason}")
                }
            };
            let pack = self.out.join(format!("{split}.pack"));
            println!("{} {split}: {} {outcome}; {:.1} MB", manifest.name, pack.display(), bytes as f64 / 1e6);
        }
        Ok(())
    }

    /// Refuses a folder that belongs to the dataset in `root`, or holds anything but packs.
    fn check(&self, root: &Path) -> anyhow::Result<()> {
        let out = &self.out;
        if Inputs::of([root]).holds(out) {
            let (out, root) = (out.display(), root.display());
            let text = format!(
                "{out} lies in the dataset's folder {root}, which is read; take an --out outside of it"
            );
            return Err(Usage(text).into());
        }
        if !is_folder(out, "--out")? {
            return Ok(());
        }
        self.place.inputs(root).require_outside(out)?;
        let foreign = names_below(out, "")?.into_iter().find(|name| !is_pack(&out.join(name)));
        foreign.map_or(Ok(()), |name| {
            let out = out.display();
            Err(Usage(format!("{out} holds {name}, which is no pack; take another --out")).into())
        })
    }
}
