//! Writes a sealed file and shows that reading detects a changed byte:
//! `cargo run --package robustseg-files --example seal`

use robustseg_files::sealed::{Sealed, read, seal};
use robustseg_files::write_atomically;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("note.safetensors");
    let tensor = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3])?;
    write_atomically(&path, &seal(vec![("a".into(), tensor)], &BTreeMap::from([("note", "x".into())]))?)?;

    let mut bytes = read(&path)?;
    println!("sealed: {}", Sealed::parse(&bytes)?.sealed);
    *bytes.last_mut().ok_or("an empty file")? ^= 1;
    println!("changed: it {}", Sealed::parse(&bytes).err().ok_or("the change went unnoticed")?);
    Ok(())
}
