//! How elements are shared out among threads, and the elements of images.

use std::ops::{Add, Div, Mul, Sub};

/// Elements of a block that one thread takes at a time.
pub(super) const BLOCK: usize = 1 << 15;

/// Rows of `channels` elements that make a block of about [`BLOCK`] elements.
pub(super) fn rows_block(channels: usize) -> usize {
    (BLOCK / channels).max(1)
}

/// An element of an image: f32, or f64 if it must not be rounded between the steps of an attack.
pub(super) trait Pixel:
    Copy
    + Send
    + Sync
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The nearest f32.
    fn rounded(self) -> f32;
}

impl Pixel for f32 {
    fn rounded(self) -> f32 {
        self
    }
}

impl Pixel for f64 {
    fn rounded(self) -> f32 {
        self as f32
    }
}
