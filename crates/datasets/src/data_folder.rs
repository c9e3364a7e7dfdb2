//! Where datasets lie by default.

/// The environment variable that names the folder of all datasets.
pub const DATA_FOLDER: &str = "ROBUSTSEG_DATA";
