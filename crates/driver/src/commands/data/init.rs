//! `robustseg data init`: looks at a folder of images and label maps and writes its manifest.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use clap::Args;
use robustseg_datasets::{Manifest, Proposal, propose};
use robustseg_files::write_atomically;

use crate::exit::Usage;
use crate::inputs::{Inputs, check_file};
use crate::progress::Meter;

/// The sides of crops in a first spec: as much as two cores train on in a minute or two.
const LARGEST_CROP: usize = 184;
const SMALLEST_CROP: usize = 16;

/// Arguments of `data init`.
#[derive(Args)]
pub(crate) struct Init {
    /// The folder of images and label maps.
    folder: PathBuf,
    /// The dataset's name [default: the folder's].
    #[arg(long)]
    name: Option<String>,
    /// The manifest to write [default: NAME.yaml].
    #[arg(long, value_name = "FILE.yaml")]
    out: Option<PathBuf>,
    /// Also writes the spec of a first training on two cores.
    #[arg(long, value_name = "FILE.yaml")]
    spec: Option<PathBuf>,
}

impl Init {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        let folder = std::path::absolute(&self.folder)
            .with_context(|| format!("finding the folder {}", self.folder.display()))?;
        let name = self.name(&folder)?;
        let out = self.out.clone().unwrap_or_else(|| format!("{name}.yaml").into());
        let inputs = Inputs::of([&folder]);
        check_file(&out, "--out", &inputs, |_| false)?;
        if let Some(spec) = &self.spec {
            if *spec == out {
                let text = format!("--spec: {} is the manifest; take another file", spec.display());
                return Err(Usage(text).into());
            }
            check_file(spec, "--spec", &inputs, |_| false)?;
        }
        let meter = Mutex::new(Meter::new());
        let proposal = propose(&folder, &name, &out, |done, total| {
            if let Ok(mut meter) = meter.lock() {
                meter.advance("reading labels", done as u64, total as u64);
            }
        })?;
        let text = proposal.to_yaml();
        // Before it is written: what is written can be read.
        Manifest::parse(&text, &out)?;
        write(&out, &text)?;
        if let Some(path) = &self.spec {
            write(path, &spec(&proposal, path, &out, &folder)?)?;
        }
        self.tell(&proposal, &out);
        Ok(())
    }

    /// The dataset's name, which is also that of a folder.
    fn name(&self, folder: &Path) -> Result<String, Usage> {
        let own =
            || folder.components().next_back().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let name = self.name.clone().or_else(own).unwrap_or_default();
        let name: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        if name.trim_start_matches('.').is_empty() {
            return Err(Usage("the folder has no name that can be a file's; give --name".into()));
        }
        Ok(name.trim_start_matches('.').to_owned())
    }

    fn tell(&self, proposal: &Proposal, out: &Path) {
        for (head, lines) in [("seen", &proposal.seen), ("guessed, to be looked at", &proposal.guesses)] {
            if !lines.is_empty() {
                println!("{head}");
                for line in lines {
                    println!("  {line}");
                }
            }
        }
        let (manifest, folder) = (out.display(), self.folder.display());
        println!("manifest: {manifest}");
        println!("next: robustseg data check {manifest} --root {folder}");
        match &self.spec {
            Some(spec) => println!("spec: {0}\nnext: robustseg run {0}", spec.display()),
            None => println!("next: a spec with `data: {{manifest: {manifest}, root: {folder}}}`"),
        }
    }
}

/// A small training on the data of `proposal`, as the spec at `path`.
fn spec(proposal: &Proposal, path: &Path, manifest: &Path, root: &Path) -> anyhow::Result<String> {
    let samples = |split: &str| proposal.manifest.splits.get(split).and_then(|split| split.count);
    let (Some(train), Some(_)) = (samples("train"), samples("val")) else {
        let text =
            "--spec: the data has no splits train and val; write the spec by hand, with data.train_split";
        return Err(Usage(text.into()).into());
    };
    let absolute = |path: &Path| std::path::absolute(path);
    let (from, to) = (absolute(path)?, absolute(manifest)?);
    let manifest =
        if from.parent() == to.parent() { to.file_name().map_or(to.clone(), PathBuf::from) } else { to };
    let batch_size = train.min(8);
    let epochs = 150_usize.div_ceil(train / batch_size).clamp(1, 100);
    let (height, width) = proposal.smallest;
    let crop = (height.min(width) / 8 * 8).clamp(SMALLEST_CROP, LARGEST_CROP);
    let text = |text: &str| serde_json::to_string(text);
    let mut spec = String::from(
        "# Written by `robustseg data init`: a first training on two cores, of a small network from random weights.\n",
    );
    writeln!(spec, "name: {}", text(&proposal.manifest.name)?)?;
    writeln!(spec, "data:\n  manifest: {}", text(&manifest.to_string_lossy())?)?;
    writeln!(spec, "  root: {}", text(&root.to_string_lossy())?)?;
    writeln!(
        spec,
        "model: {{layers: [1, 1, 1, 1], width: 12}}
training:
  method: fast_newton
  epochs: {epochs}
  batch_size: {batch_size}
  learning_rate: 0.02
  head_learning_rate_factor: 5
  augmentation: {{crop: {crop}}}
  validate_every: {}
  validation_limit: 20
evaluation:
  limit: 20
  curves:
    - fgsm: {{epsilons: [0, 0.01, 0.02, 0.03]}}
    - bim: {{alpha: 0.01, steps: 5, epsilons: [0, 0.01, 0.03]}}
  examples: 2",
        epochs.div_ceil(4)
    )?;
    Ok(spec)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_atomically(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
