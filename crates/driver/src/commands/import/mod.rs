//! `robustseg import`: a published checkpoint as one of ours.

mod summary;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use robustseg_datasets::Manifest;
use robustseg_files::sealed::Sealed;
use robustseg_files::sha256_of;
use robustseg_models::{Error as ModelError, ImportOrigin, Origin, pretrained};
use robustseg_published::{Error, Import as Plan, KINDS, Kind, Product, Weights};

use self::summary::Summary;
use crate::checkpoint;
use crate::exit::{BadData, Usage};
use crate::inputs::{Inputs, check_file};

/// Arguments of `import`.
#[derive(Args)]
pub(crate) struct Import {
    /// The checkpoint: a file of PyTorch (.pth, .pt), a .safetensors file, or a model of the hub,
    /// such as `timm/resnetv2_50.a1h_in1k`. Nothing in it is executed.
    file: String,
    /// The kind of the checkpoint. Without it, the error names the nearest kind.
    #[arg(long = "as", value_name = "KIND", long_help = kinds())]
    kind: Option<String>,
    /// The number of classes that the checkpoint must have.
    #[arg(long, value_name = "N")]
    num_classes: Option<usize>,
    /// The data manifest whose classes the network tells apart, in this order. The checkpoint then
    /// names them.
    #[arg(long, value_name = "FILE", conflicts_with = "num_classes")]
    manifest: Option<PathBuf>,
    /// The mean of each colour that the network subtracts, in units of [0, 1], if it is not the
    /// kind's.
    #[arg(long, value_name = "R,G,B", value_parser = colours, requires = "std")]
    mean: Option<[f32; 3]>,
    /// The standard deviation of each colour by which the network divides.
    #[arg(long, value_name = "R,G,B", value_parser = colours, requires = "mean")]
    std: Option<[f32; 3]>,
    /// The file to write: a checkpoint for the other commands, or a backbone for `model.pretrained`
    /// of a spec.
    #[arg(long, value_name = "X.safetensors")]
    out: PathBuf,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let manifest = self.manifest.as_deref().map(Manifest::load).transpose()?;
        let path = pretrained::resolve(&self.file)?;
        let inputs = Inputs::of([&path].into_iter().chain(&self.manifest));
        check_file(&self.out, "--out", &inputs, is_own)?;
        let mut weights = Weights::open(&path)?;
        let kind = self.kind(&weights)?;
        let classes = manifest.as_ref().map(Manifest::num_classes).or(self.num_classes);
        if kind.product == Product::Backbone && classes.is_some() {
            let text = format!(
                "{} is a backbone, which has no classes; leave out --num-classes and --manifest",
                kind.name
            );
            return Err(Usage(text).into());
        }
        let mut plan = Plan::plan(&weights, kind, classes).map_err(|error| self.worded(error))?;
        if let (Some(mean), Some(std)) = (self.mean, self.std) {
            plan = plan.normalised(mean, std).map_err(|error| self.worded(error))?;
        }
        let sha256 = sha256_of(&path).with_context(|| format!("reading {}", path.display()))?;
        let import = ImportOrigin {
            file: self.name(&path),
            sha256,
            kind: kind.name.into(),
            taken: plan.taken(),
            left: plan.left().to_vec(),
        };
        let classes = manifest.as_ref().map(checkpoint::classes);
        let origin = Origin { classes, training: None, import: Some(import) };
        plan.write(&mut weights, &origin, &self.out)?;
        let summary = Summary::new(&self.file, kind, &plan, &origin, &self.out);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summary)?);
        } else {
            println!("{summary}");
        }
        Ok(())
    }

    /// The kind that was asked for.
    fn kind(&self, weights: &Weights) -> Result<&'static Kind, Usage> {
        let Some(name) = &self.kind else {
            return Err(Usage(format!("--as is missing for {}: {}", self.file, weights.described())));
        };
        Kind::named(name).ok_or_else(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let (known, described) = (known.join(", "), weights.described());
            Usage(format!("--as {name} is not known, only {known}; {}: {described}", self.file))
        })
    }

    /// `error`, with its option if an option is wrong.
    fn worded(&self, error: Error) -> anyhow::Error {
        match (error, &self.manifest) {
            (Error::Classes { path, found, expected }, Some(manifest)) => BadData(format!(
                "{}: its classifier has {found} classes, but the manifest {} has {expected}; take the manifest that the \
                 network was trained with",
                path.display(),
                manifest.display()
            ))
            .into(),
            (error @ Error::Classes { .. }, None) => Usage(format!("{error}, as --num-classes says")).into(),
            (Error::Model(ModelError::Setting { field, reason }), _) => {
                Usage(format!("--{field} {reason}")).into()
            }
            (error, _) => error.into(),
        }
    }

    /// The file's name without folders, or its place on the hub.
    fn name(&self, path: &Path) -> String {
        match path.file_name() {
            Some(name) if Path::new(&self.file).exists() => name.to_string_lossy().into_owned(),
            _ => self.file.clone(),
        }
    }
}

/// A number for each colour.
fn colours(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let numbers: Option<[f32; 3]> = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| "expected three numbers, such as 0.485,0.456,0.406".into())
}

/// Whether `bytes` are a file that this command wrote.
fn is_own(bytes: &[u8]) -> bool {
    Sealed::parse(bytes).is_ok_and(|file| file.metadata.contains_key("import"))
}

/// The help text of `--as`.
fn kinds() -> String {
    let mut text =
        String::from("The kind of the checkpoint. Without it, the error names the nearest kind.\n\nKinds:");
    for kind in KINDS {
        text += &format!("\n- {}: {}", kind.name, kind.title);
    }
    text
}
