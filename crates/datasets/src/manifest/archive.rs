//! Archives that a program may download.

use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

/// A tar file, gzipped or not, that may be downloaded freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its address, by `http` or `https`.
    pub url: String,
    /// MD5 of the file, as its publisher announces it: 32 hexadecimal digits, in lower case.
    pub md5: String,
    /// Its size in bytes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The folder of the archive that is wanted; it keeps its path below the folder that is unpacked in.
    pub folder: PathBuf,
}

impl Archive {
    /// The last part of its address.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn validate(&self) -> std::result::Result<(), String> {
        let plain = |component| matches!(component, Component::Normal(_));
        let name = self.file_name();
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(format!("url: `{}` is no address by http or https", self.url));
        }
        if name.is_empty() || name.starts_with('.') || name.contains(['?', '#', '\\', ':']) {
            return Err(format!("url: `{}` does not end with the name of a file", self.url));
        }
        if !robustseg_files::is_hexadecimal(&self.md5, 32) {
            return Err("md5: expected 32 hexadecimal digits, in lower case".into());
        }
        if self.folder.as_os_str().is_empty() || !self.folder.components().all(plain) {
            return Err(format!("folder: `{}` is no path below the archive's", self.folder.display()));
        }
        Ok(())
    }
}
