//! Limits the size of a picture.

use super::fault::Fault;

/// Maximum number of pixels of a picture. It is checked before memory is allocated.
pub const MAX_PIXELS: usize = 1 << 27;

/// Refuses pictures without pixels or with too many.
pub(super) fn check_size(width: usize, height: usize) -> Result<(), Fault> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(Fault::new(
            "NxN pixels",
            format!("{width}x{height} pixels; possible are 1 to {MAX_PIXELS}"),
            "cut these pictures into smaller ones",
        )),
    }
}
