//! `robustseg schema`: all keys of specs, for editors and for readers.

use clap::Args;

use crate::spec::Spec;

/// Arguments of `schema`.
#[derive(Args)]
pub(crate) struct Schema {
    /// Prints a page in Markdown for readers instead of the JSON schema.
    #[arg(long)]
    markdown: bool,
}

impl Schema {
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        print!("{}", if self.markdown { Spec::page()? } else { Spec::schema()? });
        Ok(())
    }
}
