//! How large a picture may be.

use super::fault::Fault;

/// Pixels that a picture may have at most; checked before memory is taken.
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
