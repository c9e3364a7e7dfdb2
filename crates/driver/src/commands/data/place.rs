//! The dataset of a `data` command.

use std::path::{Path, PathBuf};

use clap::Args;
use robustseg_datasets::{DATA_FOLDER, Manifest};

use crate::data::root;
use crate::exit::Usage;
use crate::inputs::Inputs;

/// The arguments that name a dataset.
#[derive(Args)]
pub(crate) struct Place {
    /// The data's manifest.
    pub(super) manifest: PathBuf,
    /// The data's folder [default: the manifest's folder under `$ROBUSTSEG_DATA`].
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
}

impl Place {
    /// The manifest and the data's folder.
    ///
    /// # Errors
    /// If the manifest is unusable. [`Usage`] if the folder is unknown.
    pub(crate) fn find(&self) -> anyhow::Result<(Manifest, PathBuf)> {
        let manifest = Manifest::load(&self.manifest)?;
        let root = root(&manifest, self.root.as_deref()).ok_or_else(|| {
            let name = &manifest.name;
            Usage(format!("data {name}: its folder is unknown; give --root DIR, or set ${DATA_FOLDER} to the folder of all data"))
        })?;
        Ok((manifest, root))
    }

    /// The files that a command reads from the data in the folder `root`. `root` is empty for
    /// generated data.
    pub(crate) fn inputs(&self, root: &Path) -> Inputs {
        Inputs::of([self.manifest.as_path(), root])
    }
}
