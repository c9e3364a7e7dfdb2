//! Files that survive a crash, detect damage, and cannot exhaust the memory of their reader.
//!
//! - [`write_atomically`] leaves the old file or the new one, never a part of either.
//! - [`sealed`] files are safetensors files with a SHA-256 over their content.
//! - [`Sha256`], [`sha256`] and [`sha256_of`] hash bytes and files. [`hexadecimal`] prints the
//!   result.
//! - [`read_text`] and [`yaml`] read text of limited size and YAML of limited expansion.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("note.txt");
//! robustseg_files::write_atomically(&path, b"abc")?;
//! assert_eq!(robustseg_files::sha256_of(&path)?, robustseg_files::sha256(b"abc"));
//! # Ok(())
//! # }
//! ```

mod durable;
mod foreign;
mod hash;
pub mod sealed;
mod text;
pub mod yaml;

pub use durable::{
    Draft, create_folders, remove_temporary, sync_folder, write_atomically, write_keeping_former,
};
pub use hash::{Sha256, hexadecimal, is_hexadecimal, pieces, sha256, sha256_of};
pub use text::{TextFault, read_text};
