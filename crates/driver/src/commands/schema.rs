//! `robustseg schema`: all keys of specs, for editors and for readers, and those of sweeps and
//! manifests.

use clap::{Args, ValueEnum};
use robustseg_datasets::Manifest;

use crate::spec::{Spec, Sweep};

/// Arguments of `schema`.
#[derive(Args)]
pub(crate) struct Schema {
    /// The files that the schema describes.
    #[arg(value_enum, default_value_t = Files::Spec)]
    files: Files,
    /// Prints a page in Markdown about specs, for readers, instead of a JSON schema.
    #[arg(long, conflicts_with = "files")]
    markdown: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Files {
    /// Specs of experiments.
    Spec,
    /// Sweeps of many runs. Their schema refers to that of specs.
    Sweep,
    /// Manifests of datasets.
    Manifest,
}

impl Schema {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self.files {
            _ if self.markdown => print!("{}", Spec::page()?),
            Files::Spec => print!("{}", Spec::schema()?),
            Files::Sweep => println!("{}", serde_json::to_string_pretty(&Sweep::schema())?),
            Files::Manifest => println!("{}", serde_json::to_string_pretty(&Manifest::schema())?),
        }
        Ok(())
    }
}
