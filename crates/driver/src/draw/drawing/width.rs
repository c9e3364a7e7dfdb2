//! The width of words in Helvetica.

/// Widths of the characters from the space to the tilde, in thousandths of the size.
const WIDTHS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// The width in pixels of `text` of `size` pixels. Other characters count as wide ones.
pub(in crate::draw) fn text_width(text: &str, size: f64) -> f64 {
    let width = |character: char| {
        let index = (character as usize).checked_sub(0x20);
        index.and_then(|index| WIDTHS.get(index)).copied().unwrap_or(778)
    };
    text.chars().map(|character| f64::from(width(character))).sum::<f64>() * size / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_helvetica() {
        assert!((text_width("0.05", 10.0) - 19.46).abs() < 1e-9);
        assert!((text_width("W~é", 1000.0) - 2306.0).abs() < 1e-9);
        assert_eq!(text_width("", 12.0), 0.0);
    }
}
