//! The default location of datasets.

/// The environment variable that names the folder of all datasets.
pub const DATA_FOLDER: &str = "ROBUSTSEG_DATA";
