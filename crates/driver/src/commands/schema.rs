//! `robustseg schema`: the JSON schema of specs.

use crate::spec::Spec;

pub(crate) fn print() -> anyhow::Result<()> {
    print!("{}", Spec::schema()?);
    Ok(())
}
