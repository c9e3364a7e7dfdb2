//! `robustseg predict`: what a network sees in images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use robustseg_datasets::Manifest;
use robustseg_models::{Pass, PspNet};
use robustseg_ops::predict;

use crate::device::DeviceChoice;
use crate::exit::Usage;
use crate::image_file;
use crate::outputs::{Inputs, check_folder};
use crate::run_directory::RunDirectory;

/// Arguments of `predict`.
#[derive(Args)]
pub(crate) struct Predict {
    /// The checkpoint.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Where results go: for each image NAME.png, its label map as a palette PNG, and `NAME_overlay.png`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Takes the palette from this data manifest instead of PASCAL VOC's.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Prints the written files as JSON.
    #[arg(long)]
    json: bool,
    /// The images, JPEG or PNG, of any size.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

impl Predict {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let names = self.names()?;
        let inputs = Inputs::of(self.images.iter().chain([&self.checkpoint]).chain(&self.manifest));
        // Before the weights are read, and again once the folder is locked.
        check_folder(&self.out, "predict", "", &inputs)?;
        let palette = match &self.manifest {
            Some(path) => Manifest::load(path)?.palette(),
            None => image_file::default_palette(),
        };
        let device = self.device.open()?;
        let network = PspNet::load(&self.checkpoint, &device)?;
        let directory = RunDirectory::for_results(&self.out, "predict", &inputs)?;
        let mut written = Vec::new();
        for (path, name) in self.images.iter().zip(names) {
            let image = image_file::read(path)?;
            let (height, width) = (image.height, image.width);
            let logits = network.forward(&image_file::tensor(&image, &device)?, &mut Pass::Evaluation)?;
            let labels = predict(&logits, height, width, network.alignment())?.flatten_all()?.to_vec1()?;
            let [map, overlay] = files(&name);
            directory.write(&map, &image_file::label_png(&labels, width, height, &palette)?)?;
            let picture = image_file::overlay(&image, &labels, &palette);
            directory.write(&overlay, &image_file::rgb_png(&picture)?)?;
            let file = |name: &str| directory.file(name).display().to_string();
            written.push(serde_json::json!({
                "image": path.display().to_string(), "labels": file(&map), "overlay": file(&overlay),
            }));
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&written)?);
        } else {
            for entry in &written {
                println!("{}", entry["labels"].as_str().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The names of the results. No two images share a file, not even where the case of letters does not matter.
    fn names(&self) -> Result<Vec<String>, Usage> {
        let mut owners: HashMap<String, &Path> = HashMap::new();
        let mut names = Vec::new();
        for path in &self.images {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let stem = stem.ok_or_else(|| Usage(format!("{}: is no file", path.display())))?;
            for file in files(&stem) {
                if let Some(other) = owners.insert(file.to_lowercase(), path) {
                    let (a, b) = (other.display(), path.display());
                    return Err(Usage(format!(
                        "{a} and {b} would both be written to {file}; give each its own command and --out"
                    )));
                }
            }
            names.push(stem);
        }
        Ok(names)
    }
}

/// The files of the image `name`: label map and overlay.
fn files(name: &str) -> [String; 2] {
    [format!("{name}.png"), format!("{name}_overlay.png")]
}
