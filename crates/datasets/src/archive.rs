//! Archives available for download.

use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// A tar file, optionally gzipped, that may be downloaded freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its address, with `http` or `https`.
    pub url: String,
    /// MD5 of the file as published: 32 lower-case hexadecimal digits.
    pub md5: String,
    /// Its size in bytes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The folder to take from the archive. It keeps its path below the folder where the archive is
    /// unpacked.
    pub folder: PathBuf,
}

impl Archive {
    /// The last part of its address.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Checks that the archive can be downloaded and cannot write outside its folder.
    pub(crate) fn validate(&self) -> Result<(), Refusal> {
        let plain = |component| matches!(component, Component::Normal(_));
        let name = self.file_name();
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(Refusal::new("url", format!("`{}` is no address by http or https", self.url)));
        }
        if name.is_empty() || name.starts_with('.') || name.contains(['?', '#', '\\', ':']) {
            return Err(Refusal::new("url", format!("`{}` does not end with the name of a file", self.url)));
        }
        if !robustseg_files::is_hexadecimal(&self.md5, 32) {
            return Err(Refusal::new("md5", "expected 32 hexadecimal digits, in lower case"));
        }
        if self.folder.as_os_str().is_empty() || !self.folder.components().all(plain) {
            let reason = format!("`{}` is no path below the archive's", self.folder.display());
            return Err(Refusal::new("folder", reason));
        }
        Ok(())
    }
}
