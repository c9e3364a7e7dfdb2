//! Crops that one class fills.

use crate::image::IGNORE_LABEL;

/// Whether several classes are labelled, none with more than `share` of the labelled pixels.
pub(super) fn is_balanced(label: &[u8], share: f64) -> bool {
    let mut counts = [0_usize; 256];
    for label in label {
        counts[usize::from(*label)] += 1;
    }
    let classes = &counts[..usize::from(IGNORE_LABEL)];
    let (all, most) = (classes.iter().sum::<usize>(), classes.iter().copied().max().unwrap_or(0));
    most < all && most as f64 <= share * all as f64
}
