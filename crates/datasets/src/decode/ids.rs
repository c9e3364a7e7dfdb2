//! Label maps as stored in files.

use crate::image::LabelMap;

/// A label map as stored in a file, with its palette: three bytes per index, empty for gray.
pub(crate) struct Ids {
    pub(crate) map: LabelMap,
    pub(crate) palette: Vec<u8>,
}
