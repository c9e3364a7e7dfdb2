//! Label maps as files have them.

use crate::image::LabelMap;

/// A label map as its file has it, with the palette: three bytes per index, empty for gray.
pub(crate) struct Ids {
    pub(crate) map: LabelMap,
    pub(crate) palette: Vec<u8>,
}
